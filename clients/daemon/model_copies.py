"""The participant's own copies of the final models, so that it needs no other party to have them.

``models/round-N.safetensors`` has the named tensors as floats, ready for use, and the committed
integers as ``fedproof.vector``, whose parameter root is the one on chain; ``models/manifest.json``
gives the mapping between the two.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors.numpy import save

from clients.daemon.received import ReceivedModels
from contracts.binding.reader import FederationReader
from coordinator.local.files import discard_leftovers, write_durably
from coordinator.local.logs import fields
from coordinator.local.paths import private_folder
from coordinator.ports import ArtifactStore
from coordinator.protocol.numbers.fixed_point import dequantise
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.types import RoundId

VECTOR_TENSOR: Final = "fedproof.vector"
_NAME: Final = re.compile(r"round-(\d+)\.safetensors")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelCopies:
    """Copies of the newest ``keep`` final models in ``folder`` (0 keeps all).

    Models in ``received`` are not fetched from the store.
    """

    folder: Path
    manifest: Manifest
    keep: int
    received: ReceivedModels | None = None

    def prepare(self) -> None:
        """Make the folder and write the manifest.

        Raises
        ------
        ConfigError, StoreError
            If the folder cannot be used.
        """
        discard_leftovers(private_folder(self.folder))
        write_durably(self.folder / "manifest.json", [self.manifest.to_json()])

    def refresh(self, federation: FederationReader, store: ArtifactStore) -> list[RoundId]:
        """Fetch final models that are missing, oldest first; return their rounds.

        Raises
        ------
        StoreError
            If a model cannot be read, is not the one on chain, or cannot be written.
        ChainUnavailableError
            If the node does not answer.
        """
        head = federation.head()
        lowest = max(1, head.final_height - self.keep + 1) if self.keep else 1
        fetched = []
        for height in range(lowest, head.final_height + 1):
            round_id = federation.round_at_height(height)
            if not self.path(round_id).exists():
                self._fetch(round_id, federation.round(round_id).new_model_root, store)
                fetched.append(round_id)
        if fetched:
            self._prune()
        return fetched

    def path(self, round_id: RoundId) -> Path:
        """Return the path of a round's model."""
        return self.folder / f"round-{round_id}.safetensors"

    def _fetch(self, round_id: RoundId, root: bytes, store: ArtifactStore) -> None:
        vector = self.received.take(root) if self.received is not None else None
        if vector is None:
            vector = store.get_vector(root, self.manifest)
        tensors: dict[str, Any] = {**dequantise(vector, self.manifest), VECTOR_TENSOR: vector}
        about = {
            "round": str(round_id),
            "root": root.hex(),
            "manifest": self.manifest.digest().hex(),
        }
        write_durably(self.path(round_id), [save(tensors, about)])
        _log.info("kept a final model", extra=fields(round=round_id, root=root.hex()))

    def _prune(self) -> None:
        if not self.keep:
            return
        matches = [_NAME.fullmatch(path.name) for path in self.folder.iterdir()]
        rounds = sorted(RoundId(int(match[1])) for match in matches if match)
        for round_id in rounds[: -self.keep]:
            self.path(round_id).unlink(missing_ok=True)
