"""Contracts: Vyper sources, their typed binding, and the embedded chain."""
