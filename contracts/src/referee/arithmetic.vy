# pragma version 0.4.3
# pragma evm-version prague
"""
@title Arithmetic
@license Apache-2.0
@notice The announced rules, for one parameter, in the integers of coordinator.protocol.rules.
@dev Sums a coordinator claims can be any word. Where they are checked, arithmetic wraps instead of
     reverting: no claim may escape a proof by overflowing. Sums that follow from committed values,
     from zero on, are far from the limits.
"""

from . import facts

INT32_MIN: constant(int256) = -(2**31)
INT32_MAX: constant(int256) = 2**31 - 1


@internal
@pure
def _fits(number: int256) -> bool:
    return number >= INT32_MIN and number <= INT32_MAX


@internal
@pure
def _trim(rule: facts.Rule, n: uint256) -> int256:
    """
    @dev How many values are discarded at each end; of the median all but one or two.
    """
    trim: uint256 = rule.num_byzantine
    if rule.kind == facts.MEDIAN:
        trim = (n - 1) // 2
    else:
        # No kind but these two has order statistics (ADR 0132).
        assert rule.kind == facts.TRIMMED_MEAN, "dispute: rule not provable"
    # A round with too few contributors is an offence of its own.
    assert 2 * trim < n, "dispute: too few contributors"
    return convert(trim, int256)


@internal
@pure
def _followed(
    rule: facts.Rule, lo: int256, hi: int256, entry: int256[5], given: int256, weight: uint256
) -> int256[5]:
    """
    @dev The entry after one more contributor. Weighted mean: the running sum. Coordinate-wise: how
         many values are below lo, lo, hi, above hi, and the sum of those between.
    """
    after: int256[5] = entry
    if rule.kind == facts.FEDAVG:
        after[0] = unsafe_add(entry[0], unsafe_mul(convert(weight, int256), given))
        return after
    if given < lo:
        after[0] = unsafe_add(entry[0], 1)
    if given == lo:
        after[1] = unsafe_add(entry[1], 1)
    if given == hi:
        after[2] = unsafe_add(entry[2], 1)
    if given > hi:
        after[3] = unsafe_add(entry[3], 1)
    if given > lo and given < hi:
        after[4] = unsafe_add(entry[4], given)
    return after


@internal
@pure
def _ranked(rule: facts.Rule, n: uint256, entry: int256[5]) -> bool:
    """
    @dev Whether the counts make lo and hi the smallest and the largest value kept.
    """
    trim: int256 = self._trim(rule, n)
    from_below: bool = entry[0] <= trim and unsafe_add(entry[0], entry[1]) > trim
    from_above: bool = entry[3] <= trim and unsafe_add(entry[3], entry[2]) > trim
    return from_below and from_above


@internal
@pure
def _mean(total: int256, count: int256) -> int256:
    # Division truncates towards zero; the mean rounds halves up, so needs the floor.
    dividend: int256 = unsafe_add(unsafe_mul(2, total), count)
    divisor: int256 = 2 * count
    quotient: int256 = dividend // divisor
    if dividend % divisor < 0:
        quotient -= 1
    return quotient


@internal
@pure
def _aggregate(
    rule: facts.Rule, n: uint256, lo: int256, hi: int256, entry: int256[5]
) -> int256:
    """
    @dev What the last entry of a column gives; for a coordinate-wise rule it must be ranked.
    """
    if rule.kind == facts.FEDAVG:
        return unsafe_add(entry[0], 2**23) >> 24
    trim: int256 = self._trim(rule, n)
    kept: int256 = convert(n, int256) - 2 * trim
    total: int256 = unsafe_mul(lo, kept)
    if lo != hi:
        at_lo: int256 = unsafe_sub(unsafe_add(entry[0], entry[1]), trim)
        at_hi: int256 = unsafe_sub(unsafe_add(entry[3], entry[2]), trim)
        ends: int256 = unsafe_add(unsafe_mul(lo, at_lo), unsafe_mul(hi, at_hi))
        total = unsafe_add(entry[4], ends)
    return self._mean(total, kept)


@internal
@pure
def _follows(rule: facts.Rule, base: int256, aggregate: int256, found: int256) -> bool:
    """
    @dev Whether the committed new value is the base moved by the aggregate, without overflow.
    """
    step: int256 = unsafe_add(
        unsafe_mul(convert(rule.server_lr_q16, int256), aggregate), 2**15
    ) >> 16
    moved: int256 = unsafe_add(base, step)
    return self._fits(aggregate) and self._fits(step) and self._fits(moved) and moved == found
