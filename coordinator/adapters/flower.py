"""Flower at the coordinator: the strategy and the records it speaks (``docs/flower.md``)."""

from coordinator.adapters.flower_records import (
    ModelLayout,
    Submission,
    instruction_records,
    model_arrays,
    read_submission,
)
from coordinator.adapters.flower_strategy import FedproofStrategy, RoundReport

__all__ = [
    "FedproofStrategy",
    "ModelLayout",
    "RoundReport",
    "Submission",
    "instruction_records",
    "model_arrays",
    "read_submission",
]
