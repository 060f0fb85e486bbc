"""Checks on the statements around an update: presence and read requests.

Pure: the caller says what time it is. Times are the chain's wherever both ends can read it, so
that a machine whose clock is an hour off still takes part. Commitments are screened beside
updates (``sealed``).
"""

from coordinator.protocol.errors import SignatureError
from coordinator.protocol.signatures.eip712 import verify_statement
from coordinator.protocol.types import (
    Address,
    Presence,
    ReadRequest,
    Signed,
    SigningDomain,
    Statement,
)

MAX_STATEMENT_S = 7 * 24 * 3600
"""How far ahead of now a statement may expire: what is stolen does not last for ever."""


def check_presence(
    signed: Signed[Presence], *, domain: SigningDomain, node_id: int, now: int
) -> Address:
    """Return the account that a Flower node speaks for.

    Parameters
    ----------
    node_id
        The node that answered; a statement about another one is worth nothing.
    now
        Chain time in seconds.

    Raises
    ------
    SignatureError
        ``wrong-node``, ``expired``, ``expires-too-late``, or any code of
        ``signing.verify_statement``.
    VerificationError
        If a field does not fit its ABI type.
    """
    if signed.statement.node_id != node_id:
        raise _refusal(signed, "wrong-node", f"node {signed.statement.node_id}", f"node {node_id}")
    _check_expiry(signed, signed.statement.expiry, now)
    verify_statement(domain, signed)
    return signed.signer


def check_read(
    signed: Signed[ReadRequest], *, domain: SigningDomain, blob: bytes, now: int
) -> Address:
    """Return the account that asks for a blob; whether it may read is the caller's to say.

    Parameters
    ----------
    blob
        Name of the blob that is asked for, 32 bytes.
    now
        Time in seconds by the clock that ``expiry`` is in.

    Raises
    ------
    SignatureError
        ``wrong-blob``, ``expired``, ``expires-too-late``, or any code of
        ``signing.verify_statement``.
    VerificationError
        If a field does not fit its ABI type.
    """
    if signed.statement.blob != blob:
        raise _refusal(signed, "wrong-blob", signed.statement.blob.hex(), blob.hex())
    _check_expiry(signed, signed.statement.expiry, now)
    verify_statement(domain, signed)
    return signed.signer


def _check_expiry(signed: Signed[Statement], expiry: int, now: int) -> None:
    if expiry <= now:
        raise _refusal(signed, "expired", f"expiry {expiry}", f"a time after {now}")
    if expiry > now + MAX_STATEMENT_S:
        expected = f"at most {MAX_STATEMENT_S} s after {now}"
        raise _refusal(signed, "expires-too-late", f"expiry {expiry}", expected)


def _refusal(signed: Signed[Statement], code: str, found: str, expected: str) -> SignatureError:
    what = type(signed.statement).__name__.lower()
    return SignatureError(
        f"{what} of {signed.signer}: found {found}, expected {expected}",
        code=code,
        found=found,
        expected=expected,
    )
