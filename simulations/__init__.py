"""Simulations of a federation on one machine: experiments, attacks, engines, reports."""

import coordinator.flower.environment  # noqa: F401  (before any module imports flwr)
from coordinator.shared_names import share

share(__name__)
