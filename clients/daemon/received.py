"""Models as rounds brought them: the next round starts from what the last one made.

So a participant that took part in the round after it has a round's model before it is final, and
need not download it once more. What is kept here is a convenience: it is checked like anything
from elsewhere when it is used, and where it is missing the store has it.
"""

import logging
from pathlib import Path
from typing import Final

from coordinator.local.files import replace_file
from coordinator.local.logs import fields
from coordinator.protocol import wire
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.errors import MalformedUpdateError
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.types import Int32Vector

MAX_BYTES: Final = 256 << 20
"""Of all that is kept: the oldest goes first."""
_log = logging.getLogger(__name__)


class ReceivedModels:
    """Received models in a folder, by their roots.

    Parameters
    ----------
    folder
        Made when the first is kept.
    manifest
        The federation's.
    max_bytes
        Beyond this the oldest are removed; a larger model is not kept at all.
    """

    def __init__(self, folder: Path, manifest: Manifest, max_bytes: int = MAX_BYTES) -> None:
        self._folder, self._manifest, self._max_bytes = folder, manifest, max_bytes

    def keep(self, root: bytes, encoded: bytes) -> None:
        """Keep a model's ``.npy`` bytes. What cannot be kept is fetched later: no error."""
        path = self._path(root)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists() and len(encoded) <= self._max_bytes:
                self._make_room(len(encoded))
                replace_file(path, [encoded], sync=False)
        except OSError as error:
            _log.warning("a model was not kept", extra=fields(root=root.hex(), error=str(error)))

    def take(self, root: bytes) -> Int32Vector | None:
        """Return a model and keep it no longer; ``None`` if it is not here, or not what it was."""
        path = self._path(root)
        try:
            encoded = path.read_bytes()
            path.unlink()
            vector = wire.decode_vector(encoded, self._manifest.dimension, path.name)
        except (OSError, MalformedUpdateError):
            return None
        return vector if parameter_root(vector, self._manifest) == root else None

    def _make_room(self, size: int) -> None:
        kept = [(path.stat(), path) for path in self._folder.iterdir()]
        total = size + sum(stat.st_size for stat, _ in kept)
        for stat, path in sorted(kept, key=lambda one: one[0].st_mtime_ns):
            if total <= self._max_bytes:
                return
            path.unlink()
            total -= stat.st_size

    def _path(self, root: bytes) -> Path:
        return self._folder / f"{root.hex()}.npy"
