"""Participants: accounts, training, and the Flower mod that signs updates."""

import coordinator.flower.environment  # noqa: F401  (before any module imports flwr)
