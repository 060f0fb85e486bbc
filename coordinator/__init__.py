"""Coordinator: pure protocol core, ports, service and adapters of Fedproof."""

__version__ = "0.1.0"
