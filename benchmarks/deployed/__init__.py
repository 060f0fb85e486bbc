"""Federations of real processes to measure: ours, and Flower's as it comes, on one machine."""
