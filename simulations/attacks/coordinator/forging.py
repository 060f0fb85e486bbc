"""Helpers for false results that are consistent otherwise."""

from collections.abc import Sequence
from dataclasses import replace

from coordinator.protocol.types import ContributorEntry


def weighted(entries: Sequence[ContributorEntry], weights: Sequence[int]) -> list[ContributorEntry]:
    """Return entries with other weights."""
    return [
        replace(entry, leaf=replace(entry.leaf, weight=weight))
        for entry, weight in zip(entries, weights, strict=True)
    ]
