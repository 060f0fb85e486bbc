"""The HTTP header of a member's request for a blob: ``Fedproof SIGNER EXPIRY SIGNATURE``.

The signature is EIP-712 ``Read(bytes32 blob, uint64 expiry)`` in the federation's domain. A copied
header can be reused for that one blob until it expires, a few minutes later; TLS keeps others from
reading it. Not handled: whether the signer may read the blob (the server).
"""

from typing import Final

from coordinator.protocol.errors import SignatureError
from coordinator.protocol.signatures.eip712 import checksum_address, sign_statement
from coordinator.protocol.types import ReadRequest, Signed, SigningDomain, address_bytes

SCHEME: Final = "Fedproof"
_EXPIRY_DIGITS: Final = 12


def sign_read(domain: SigningDomain, private_key: bytes, blob: bytes, expiry: int) -> str:
    """Return the header for reading a blob until ``expiry`` (Unix seconds, exclusive)."""
    signed = sign_statement(domain, ReadRequest(blob, expiry), private_key)
    return f"{SCHEME} {signed.signer} {expiry} {signed.signature.hex()}"


def parse_read(header: str, blob: bytes) -> Signed[ReadRequest]:
    """Return the request for ``blob`` in a header; its signature is not verified here.

    Raises
    ------
    SignatureError
        ``no-authorization`` if the header is empty, ``malformed-authorization`` if it is malformed.
    """
    if not header:
        raise SignatureError(
            "updates of this federation are for members: sign the request with a bonded account",
            code="no-authorization",
        )
    try:
        scheme, signer, expiry, signature = header.split(" ")
        if scheme != SCHEME or not (expiry.isdecimal() and len(expiry) <= _EXPIRY_DIGITS):
            raise ValueError(scheme)
        reader = checksum_address(address_bytes(signer))
        return Signed(reader, ReadRequest(blob, int(expiry)), bytes.fromhex(signature))
    except (ValueError, SignatureError) as error:
        raise SignatureError(
            f"Authorization header: expected '{SCHEME} ADDRESS EXPIRY SIGNATURE'",
            code="malformed-authorization",
        ) from error
