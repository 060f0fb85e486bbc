"""Formats amounts of wei for people. Not handled: parsing amounts (``settings``)."""

from typing import Final

ETHER: Final = 10**18
"""Wei in one ether."""
GWEI: Final = 10**9
"""Wei in one gwei."""


def ether(wei: int) -> str:
    """Return an amount for tables: four digits, in the largest fitting of ether, gwei and wei.

    Examples
    --------
    >>> ether(2 * ETHER), ether(1_234_567_890_000_000_000), ether(40 * GWEI), ether(3)
    ('2 ETH', '1.235 ETH', '40 gwei', '3 wei')
    """
    for unit, size in (("ETH", ETHER), ("gwei", GWEI)):
        if abs(wei) >= size // 1000:
            return f"{wei / size:,.4g} {unit}" if wei % size else f"{wei // size:,} {unit}"
    return f"{wei} wei"


def exact_ether(wei: int) -> str:
    """Return an amount of at least 0 in ether, to the last wei.

    Examples
    --------
    >>> exact_ether(2_500_000_000_000_000_000), exact_ether(1), exact_ether(0)
    ('2.5 ETH', '0.000000000000000001 ETH', '0 ETH')
    """
    whole, rest = divmod(wei, ETHER)
    digits = f"{rest:018d}".rstrip("0")
    return f"{whole}.{digits} ETH" if digits else f"{whole} ETH"
