"""Integer weights: divides 2^24 in proportion to shares, exactly.

Not handled: computing shares and using the weights (``rules``).
"""

import operator
from collections.abc import Sequence

from coordinator.protocol.errors import AggregationError
from coordinator.protocol.types import WEIGHT_TOTAL, Address, address_bytes


def apportion(shares: Sequence[int], addresses: Sequence[Address]) -> list[int]:
    """Divide 2^24 in proportion to integer shares, by largest remainder.

    Each share gets the floor of its quota; the remaining units go one by one to the largest
    remainders, among equal ones to the smaller address. So a weight is the floor or the ceiling of
    its quota, and does not depend on the order of the input.

    Parameters
    ----------
    shares
        Non-negative integers, of any size.
    addresses
        The address of each share; all different.

    Returns
    -------
    Weights in the order of the input, summing to exactly ``2**24``.

    Raises
    ------
    AggregationError
        If there are no shares, all are zero, one is negative or not an integer, or the addresses
        do not match them one to one.

    Examples
    --------
    >>> a, b, c = (Address("0x" + 39 * "0" + digit) for digit in "123")
    >>> apportion([1, 1, 1], [a, b, c])
    [5592406, 5592405, 5592405]
    """
    exact = [_checked_share(share, index) for index, share in enumerate(shares)]
    if len(addresses) != len(exact) or len(set(addresses)) != len(exact):
        raise AggregationError(
            f"weights: {len(exact)} shares for {len(set(addresses))} different addresses, "
            "expected one address a share"
        )
    total = sum(exact)
    if total == 0:
        raise AggregationError(
            f"weights: the shares of all {len(exact)} contributors are zero, "
            "expected at least one above zero"
        )
    quotas = [divmod(share * WEIGHT_TOTAL, total) for share in exact]
    weights = [floor for floor, _ in quotas]
    order = sorted(range(len(exact)), key=lambda i: (-quotas[i][1], address_bytes(addresses[i])))
    for index in order[: WEIGHT_TOTAL - sum(weights)]:
        weights[index] += 1
    return weights


def _checked_share(share: int, index: int) -> int:
    try:
        value = operator.index(share)
    except TypeError as error:
        raise AggregationError(
            f"weights: share {index} is {share!r}, expected an integer"
        ) from error
    if value < 0:
        raise AggregationError(f"weights: share {index} is {value}, expected at least 0")
    return value
