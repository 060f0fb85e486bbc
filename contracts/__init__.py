"""Contracts: Vyper sources, their typed binding, and the embedded chain."""

from coordinator.shared_names import share

share(__name__)
