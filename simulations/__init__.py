"""Simulations: one TOML file, one command, plots and tables."""

import coordinator.flower.environment  # noqa: F401  (before any module imports flwr)
