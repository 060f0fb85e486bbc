"""Evaluates a committed model on the public examples that a federation agreed on.

Accuracy is a count of right answers in exact integers: whoever has the model and the set, both of
which are published, gets the same. The loss is computed from the same integers in floats. Not
handled: models without an architecture of ours.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from coordinator.ports import ArtifactStore
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.round.evaluation import PublicResult
from coordinator.protocol.scores.architecture import Architecture
from coordinator.protocol.scores.exact_model import UnboundedModelError, class_logits
from coordinator.protocol.types import Int32Vector
from coordinator.service.scorers import decode_evaluation_set
from coordinator.settings.agreement import FederationAgreement

_BATCH: Final = 256
"""Examples at a time: what they take in memory is bounded, and other threads get their turn."""


@dataclass(frozen=True)
class PublicSet:
    """Public examples: ``inputs`` ``(n, *input_shape)`` int32, ``labels`` ``(n,)`` int64."""

    architecture: Architecture
    inputs: NDArray[np.int32]
    labels: NDArray[np.int64]

    @classmethod
    def agreed(cls, agreement: FederationAgreement, store: ArtifactStore) -> "PublicSet | None":
        """Return the set that an agreement names, from the store; ``None`` if it names none.

        Raises
        ------
        ConfigError
            If the agreement has no architecture to evaluate, or the blob is no evaluation set.
        BlobMissingError, BlobCorruptError
            If the store does not have it as agreed.
        """
        evaluation, architecture = agreement.evaluation, agreement.core_architecture
        if evaluation is None or not evaluation.public_set:
            return None
        if architecture is None:
            raise ConfigError(
                f"the agreement of {agreement.name}: evaluation.public_set needs a model with an "
                "architecture"
            )
        digest = bytes.fromhex(evaluation.public_set)
        return cls(architecture, *decode_evaluation_set(store.get_bytes(digest)))

    def measure(self, model: Int32Vector) -> PublicResult:
        """Evaluate a model of shape ``(d,)``, fixed point.

        One without defined outputs gets nothing right, and has no loss.
        """
        right, loss = 0, 0.0
        unit = float(1 << self.architecture.activation_bits)
        for start in range(0, len(self.labels), _BATCH):
            part = slice(start, start + _BATCH)
            labels = self.labels[part]
            try:
                outputs = class_logits(self.architecture, model, self.inputs[part])
            except UnboundedModelError:
                return PublicResult(len(self.labels), 0, None)
            right += int(np.count_nonzero(outputs.argmax(axis=1) == labels))
            values = (outputs - outputs.max(axis=1, keepdims=True)) / unit
            true = values[np.arange(len(labels)), labels]
            loss += float(np.sum(np.log(np.exp(values).sum(axis=1)) - true))
        return PublicResult(len(self.labels), right, loss / len(self.labels))
