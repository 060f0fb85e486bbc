"""A node's authentication as Flower sends it: a public key, a time, and a signature of the time."""

from base64 import b64decode
from collections.abc import Mapping
from datetime import datetime
from typing import Final

# isort: split
from cryptography.exceptions import UnsupportedAlgorithm

from coordinator.flower.internals import (
    NODE_KEY_HEADER,
    NODE_SIGNATURE_HEADER,
    NODE_TIME_HEADER,
    flower_time_s,
    signature_holds,
)

_MAX_HEADER: Final = 2_048


def is_signed(headers: Mapping[bytes, bytes], tolerance_s: float) -> bytes | None:
    """Return the public key that signed a request's time, ``None`` if that is invalid or too old.

    Parameters
    ----------
    headers
        The request's, with lower-case names.
    tolerance_s
        Seconds that the signed time may be off, either way.
    """
    values = [
        headers.get(name.encode(), b"")
        for name in (NODE_KEY_HEADER, NODE_SIGNATURE_HEADER, NODE_TIME_HEADER)
    ]
    if any(len(value) > _MAX_HEADER for value in values):
        return None
    try:
        key, signature = b64decode(values[0], validate=True), b64decode(values[1], validate=True)
        signed_at = datetime.fromisoformat(values[2].decode("ascii"))
        if signed_at.tzinfo is None or abs(flower_time_s() - signed_at.timestamp()) > tolerance_s:
            return None
        return key if signature_holds(key, values[2], signature) else None
    except (ValueError, TypeError, AttributeError, UnsupportedAlgorithm):
        return None
