"""Simulations: one TOML file, one command, plots and tables."""

import coordinator.flower.environment  # noqa: F401  (before any module imports flwr)
from coordinator.shared_names import share

share(__name__)
