"""Participants: accounts, training, and the Flower mod that signs updates."""

import coordinator.flower.environment  # noqa: F401  (before any module imports flwr)
from coordinator.shared_names import share

share(__name__)
