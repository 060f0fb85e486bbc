"""Federations of real processes to measure on one machine: ours, and plain Flower's."""
