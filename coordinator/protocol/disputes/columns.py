"""Columns: running entries that show how a result follows, contributor by contributor (ADR 72).

A column has an entry before the first contributor (all zero) and one after each: five signed words.
Its root is that of the RFC 6962 tree over the ``n + 1`` encoded entries, so two inclusion proofs
show one wrong step for any *n*. The meaning of the five words depends on the column:

==============  =======================================================================
weighted mean   ``(sum of weight * value, 0, 0, 0, 0)``
coordinate-wise ``(count below lo, at lo, at hi, above hi, sum strictly between)``
totals          ``(sum of weights, of capped examples, of stakes, 0, 0)``
payments        ``(sum of scores, of shares of the budget, 0, 0, 0)``
==============  =======================================================================

All arithmetic is modulo 2^256, as in the contract. Not handled: asking for columns (``moves``).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from coordinator.protocol.commitments.merkle import leaf_hash, path_positions, tree_levels
from coordinator.protocol.disputes.cases import Entry
from coordinator.protocol.errors import AggregationError, VerificationError
from coordinator.protocol.rules.base import RankedColumns, WeightedColumns, capped_examples
from coordinator.protocol.rules.chosen import provability
from coordinator.protocol.types import ContributorLeaf, Rule, ScoreLeaf, Wei

ZERO: Entry = (0, 0, 0, 0, 0)
_MODULUS = 1 << 256
_HALF = 1 << 255


def wrapped(value: int) -> int:
    """Return a value modulo 2**256 as a signed word, like the contract's ``int256``."""
    # A claimed word must not prevent its own proof by making the contract revert (ADR 72).
    return (value + _HALF) % _MODULUS - _HALF


def encode_entry(entry: Entry) -> bytes:
    """Return the 160 bytes that are a leaf of the column's tree: ABI ``int256[5]``."""
    return b"".join((word % _MODULUS).to_bytes(32, "big") for word in entry)


@dataclass(frozen=True)
class Column:
    """A column and its tree. ``lo`` and ``hi`` are 0 if the rule has no order statistics.

    The tree is RFC 6962's, not one of sorted pairs: a path must prove the contributor at which an
    entry stands (ADR 72).
    """

    entries: tuple[Entry, ...]
    lo: int = 0
    hi: int = 0

    @cached_property
    def _levels(self) -> list[list[bytes]]:
        return tree_levels([leaf_hash(encode_entry(entry)) for entry in self.entries])

    @property
    def root(self) -> bytes:
        """The column's root, 32 bytes: the answer to a challenge."""
        return self._levels[-1][0]

    @property
    def last(self) -> Entry:
        """The entry after all contributors."""
        return self.entries[-1]

    def path(self, index: int) -> tuple[bytes, ...]:
        """Return the siblings that prove entry ``index``.

        Raises
        ------
        VerificationError
            If there is no such entry.
        """
        positions = path_positions(index, len(self.entries))
        return tuple(
            self._levels[height][place]
            for height, place in enumerate(positions)
            if place is not None
        )


def columns_of(rule: Rule) -> WeightedColumns | RankedColumns:
    """Return the definition of a rule's columns.

    Raises
    ------
    AggregationError
        If the rule has no columns; it must not be read as a rule that has (ADR 132).
    """
    columns = provability(rule)
    if columns is None:
        raise AggregationError(
            f"rule kind {rule.kind} has no columns, it is not provable by this referee"
        )
    return columns


def followed(rule: Rule, lo: int, hi: int, entry: Entry, value: int, weight: int) -> Entry:
    """Return the next entry of a parameter's column, after one more contributor."""
    if isinstance(columns_of(rule), WeightedColumns):
        return (wrapped(entry[0] + weight * value), *entry[1:])
    below, at_lo, at_hi, above, between = entry
    return (
        below + (value < lo),
        at_lo + (value == lo),
        at_hi + (value == hi),
        above + (value > hi),
        wrapped(between + (value if lo < value < hi else 0)),
    )


def trim_of(rule: Rule, n: int) -> int:
    """Return the number of values that a coordinate-wise rule discards at each end.

    Raises
    ------
    AggregationError
        If no value would be left, or the rule discards none by order.
    """
    columns = columns_of(rule)
    if not isinstance(columns, RankedColumns):
        raise AggregationError(f"rule kind {rule.kind} discards no values")
    trim = columns.trim(n, rule.num_byzantine)
    if not 0 <= 2 * trim < n:
        raise AggregationError(f"n = {n} values cannot lose {trim} at each end")
    return trim


def order_statistics(rule: Rule, values: Sequence[int]) -> tuple[int, int]:
    """Return the smallest and the largest kept value; zeros for a weighted mean."""
    if isinstance(columns_of(rule), WeightedColumns):
        return 0, 0
    trim = trim_of(rule, len(values))
    ordered = sorted(values)
    return ordered[trim], ordered[len(values) - 1 - trim]


def aggregate_column(
    rule: Rule,
    weights: Sequence[int],
    values: Sequence[int],
    *,
    claimed: tuple[int, int] | None = None,
) -> Column:
    """Return the column of one parameter over all contributors, in leaf order.

    Parameters
    ----------
    weights, values
        One per contributor: its committed weight, and the parameter in its update.
    claimed
        Order statistics to use instead of the right ones: a coordinator may claim others, and its
        column is then checked against its own claim.
    """
    lo, hi = order_statistics(rule, values) if claimed is None else claimed
    entries = [ZERO]
    for weight, value in zip(weights, values, strict=True):
        entries.append(followed(rule, lo, hi, entries[-1], int(value), int(weight)))
    return Column(tuple(entries), lo, hi)


def totals_column(rule: Rule, leaves: Sequence[ContributorLeaf]) -> Column:
    """Return the column of weights, capped examples and stakes, in leaf order."""
    rows = [(leaf.weight, capped_examples(rule, leaf.examples), leaf.stake_wei) for leaf in leaves]
    return _summed(rows)


def payments_column(budget_wei: Wei, total_score: int, scores: Sequence[ScoreLeaf]) -> Column:
    """Return the column of scores and shares; ``scores`` in the order of the contributors."""
    rows = [(leaf.score, share_of(budget_wei, leaf.score, total_score)) for leaf in scores]
    return _summed(rows)


def share_of(budget_wei: Wei, score: int, total_score: int) -> int:
    """Return ``budget * score // total`` in wei, 0 if the total is 0."""
    return budget_wei * score // total_score if total_score else 0


def _summed(rows: Iterable[tuple[int, ...]]) -> Column:
    entries = [ZERO]
    for row in rows:
        padded = (*row, *ZERO[len(row) :])
        a, b, c, d, e = (wrapped(x + y) for x, y in zip(entries[-1], padded, strict=True))
        entries.append((a, b, c, d, e))
    return Column(tuple(entries))


def is_ranked(rule: Rule, n: int, entry: Entry) -> bool:
    """Return whether the last entry's counts confirm lo and hi as the outermost kept values."""
    trim = trim_of(rule, n)
    below, at_lo, at_hi, above, _ = entry
    return below <= trim < below + at_lo and above <= trim < above + at_hi


def aggregate_of(rule: Rule, n: int, column: Column) -> int:
    """Return the aggregate of a parameter according to its column's last entry.

    Raises
    ------
    VerificationError
        If the column's order statistics do not match its counts.
    """
    if isinstance(columns_of(rule), WeightedColumns):
        return (column.last[0] + (1 << 23)) >> 24
    if not is_ranked(rule, n, column.last):
        raise VerificationError(f"column: {column.lo} and {column.hi} are not the values kept")
    trim = trim_of(rule, n)
    kept = n - 2 * trim
    below, at_lo, at_hi, above, between = column.last
    total = column.lo * kept
    if column.lo != column.hi:
        total = between + column.lo * (below + at_lo - trim) + column.hi * (above + at_hi - trim)
    return (2 * total + kept) // (2 * kept)
