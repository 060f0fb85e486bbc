"""The Solidity ABI words of static values: 32 bytes each, big-endian.

Not handled: dynamic types, decoding, and what the words stand for (``commitments.digests``).
"""

from coordinator.protocol.errors import VerificationError
from coordinator.protocol.types import address_bytes

ADDRESS_BYTES = 20
WORD_BYTES = 32


def uint_word(value: int, bits: int, name: str) -> bytes:
    """Return ``uint<bits>`` as one word.

    Raises
    ------
    VerificationError
        If the value is not an integer of that type; ``name`` is in the message.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << bits:
        raise VerificationError(f"{name} is {value!r}, expected a uint{bits}")
    return int(value).to_bytes(WORD_BYTES, "big")


def bytes32_word(value: bytes, name: str) -> bytes:
    """Return ``bytes32``, unchanged.

    Raises
    ------
    VerificationError
        If the value is not 32 bytes.
    """
    if len(value) != WORD_BYTES:
        raise VerificationError(f"{name} has {len(value)} bytes, expected {WORD_BYTES}")
    return bytes(value)


def address_word(address: str, name: str) -> bytes:
    """Return an address as one word.

    Raises
    ------
    VerificationError
        If it is not ``0x`` and 40 hexadecimal digits. The EIP-55 checksum is not checked.
    """
    try:
        raw = address_bytes(address)
    except ValueError:
        raw = b""
    if len(raw) != ADDRESS_BYTES or address[:2] != "0x":
        raise VerificationError(f"{name} is {address!r}, expected 0x and 40 hexadecimal digits")
    return raw.rjust(WORD_BYTES, b"\x00")
