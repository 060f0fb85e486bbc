"""A model with what the built-in trainer needs of it. Not handled: where it comes from."""

from dataclasses import dataclass

from torch import nn

from coordinator.models.networks import BinaryLogits, build_network, least_batch
from coordinator.models.shared import SharedModel
from coordinator.protocol.scores.architecture import Architecture, ModelShape


@dataclass(frozen=True)
class TrainedModel:
    """A model to train.

    ``shared`` takes and gives tensors, ``classifier`` has a logit for each class; ``least_batch``
    examples are needed in a batch.
    """

    shared: SharedModel
    classifier: nn.Module
    shape: ModelShape

    @property
    def least_batch(self) -> int:
        """How many examples a batch needs at least."""
        return least_batch(self.classifier)

    @classmethod
    def of(cls, architecture: Architecture) -> "TrainedModel":
        """Make the network of an architecture; its parameters mean nothing yet."""
        network = build_network(architecture)
        classifier = BinaryLogits.around(network, architecture)
        return cls(SharedModel(network, "the agreed model"), classifier, architecture)
