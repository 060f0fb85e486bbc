"""Measurements, each against a rival in the same run: ``python -m benchmarks``."""
