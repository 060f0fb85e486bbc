"""Benchmarks, each against an alternative in the same run: ``python -m benchmarks``."""
