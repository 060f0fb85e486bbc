"""Ethereum's hash."""

import sha3


def keccak256(data: bytes) -> bytes:
    """Return Ethereum's Keccak-256 (not the later SHA3-256).

    Examples
    --------
    >>> keccak256(b"").hex()[:16]
    'c5d2460186f7233c'
    """
    digest: bytes = sha3.keccak_256(data).digest()
    return digest
