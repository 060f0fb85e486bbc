"""Checks on presence statements and read requests.

Pure functions: the caller passes the time. Times are chain time if both sides can read the chain,
so that a machine whose clock is an hour off can still take part. Not handled: commitments, which
are screened with updates (``round.screening``).
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
"""Seconds from now within which a statement must expire, so that a stolen one does too."""


def check_presence(
    signed: Signed[Presence], *, domain: SigningDomain, node_id: int, now: int
) -> Address:
    """Return the account that a Flower node belongs to.

    Parameters
    ----------
    node_id
        The node that answered; a statement about another node is refused.
    now
        Chain time in seconds.

    Raises
    ------
    SignatureError
        ``wrong-node``, ``expired``, ``expires-too-late``, or any code of
        ``eip712.verify_statement``.
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
    """Return the account that requests a blob; the caller decides whether it may read it.

    Parameters
    ----------
    blob
        Name of the requested blob, 32 bytes.
    now
        Time in seconds, by the same clock as ``expiry``.

    Raises
    ------
    SignatureError
        ``wrong-blob``, ``expired``, ``expires-too-late``, or any code of
        ``eip712.verify_statement``.
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
    kind = type(signed.statement).__name__.lower()
    return SignatureError(
        f"{kind} of {signed.signer}: found {found}, expected {expected}",
        code=code,
        found=found,
        expected=expected,
    )
