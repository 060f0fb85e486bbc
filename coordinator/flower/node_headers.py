"""A node's authentication as Flower sends it: a public key, a time, and a signature of the time."""

from base64 import b64decode
from collections.abc import Mapping
from datetime import datetime
from typing import Final

# isort: split
from cryptography.exceptions import UnsupportedAlgorithm
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import bytes_to_public_key, verify_signature

_MAX_HEADER: Final = 2_048


def is_signed(headers: Mapping[bytes, bytes], tolerance_s: float) -> bytes | None:
    """Return the public key that signed a request's time, ``None`` if none did, or not lately.

    Parameters
    ----------
    headers
        Of the request, lower-case names.
    tolerance_s
        How far the time may be from now, either way.
    """
    found = [
        headers.get(name.lower().encode(), b"")
        for name in (FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER, TIMESTAMP_HEADER)
    ]
    if any(len(value) > _MAX_HEADER for value in found):
        return None
    try:
        key, signature = b64decode(found[0], validate=True), b64decode(found[1], validate=True)
        age_s = (now() - datetime.fromisoformat(found[2].decode("ascii"))).total_seconds()
        if abs(age_s) > tolerance_s:
            return None
        return key if verify_signature(bytes_to_public_key(key), found[2], signature) else None
    except (ValueError, TypeError, AttributeError, UnsupportedAlgorithm):
        return None
