"""The HTTP header with which a member asks for a blob: ``Fedproof SIGNER EXPIRY SIGNATURE``.

The signature is EIP-712 ``Read(bytes32 blob, uint64 expiry)`` in the federation's domain. Whoever
overhears the header can repeat it for that one blob until it expires, a few minutes later: TLS
keeps it from being overheard. Whether the signer may read is the server's to decide.
"""

from typing import Final

from coordinator.protocol.errors import SignatureError
from coordinator.protocol.signatures.eip712 import checksum_address, sign_statement
from coordinator.protocol.types import ReadRequest, Signed, SigningDomain, address_bytes

SCHEME: Final = "Fedproof"
_EXPIRY_DIGITS: Final = 12


def sign_read(domain: SigningDomain, private_key: bytes, blob: bytes, expiry: int) -> str:
    """Return the header's value for reading a blob until ``expiry`` (Unix seconds, exclusive)."""
    signed = sign_statement(domain, ReadRequest(blob, expiry), private_key)
    return f"{SCHEME} {signed.signer} {expiry} {signed.signature.hex()}"


def parse_read(header: str, blob: bytes) -> Signed[ReadRequest]:
    """Return the request for ``blob`` that a header's value makes; nothing is verified yet.

    Raises
    ------
    SignatureError
        ``no-authorization`` if it is empty, ``malformed-authorization`` if it is something else.
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
        who = checksum_address(address_bytes(signer))
        return Signed(who, ReadRequest(blob, int(expiry)), bytes.fromhex(signature))
    except (ValueError, SignatureError) as error:
        raise SignatureError(
            f"Authorization header: expected '{SCHEME} ADDRESS EXPIRY SIGNATURE'",
            code="malformed-authorization",
        ) from error
