"""Coordinator: pure protocol core, ports, service and adapters of Fedproof."""

from coordinator.shared_names import share

share(__name__)

__version__ = "0.1.0"
