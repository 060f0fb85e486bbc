"""Keeps the base models that rounds brought, so that they need not be downloaded again.

A round starts from the model of the round before it. So a participant of the later round has that
model before it is final. The kept models are a cache: they are checked when used, and a missing one
is read from the store.
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
"""Limit on the size of all kept models; the oldest are removed first."""
_log = logging.getLogger(__name__)


class ReceivedModels:
    """Received models in a folder, by their roots.

    Parameters
    ----------
    folder
        Made when the first model is kept.
    manifest
        The federation's manifest.
    max_bytes
        Limit on the size of all models together; a larger model is not kept at all.
    """

    def __init__(self, folder: Path, manifest: Manifest, max_bytes: int = MAX_BYTES) -> None:
        self._folder, self._manifest, self._max_bytes = folder, manifest, max_bytes

    def keep(self, root: bytes, encoded: bytes) -> None:
        """Keep a model's ``.npy`` bytes; failing to is not an error, as the store has it too."""
        path = self._path(root)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists() and len(encoded) <= self._max_bytes:
                self._make_room(len(encoded))
                replace_file(path, [encoded], sync=False)
        except OSError as error:
            _log.warning("a model was not kept", extra=fields(root=root.hex(), error=str(error)))

    def take(self, root: bytes) -> Int32Vector | None:
        """Return a model and remove it; ``None`` if it is missing or damaged."""
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
        for stat, path in sorted(kept, key=lambda entry: entry[0].st_mtime_ns):
            if total <= self._max_bytes:
                return
            path.unlink()
            total -= stat.st_size

    def _path(self, root: bytes) -> Path:
        return self._folder / f"{root.hex()}.npy"
