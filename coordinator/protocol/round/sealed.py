"""Sealed rounds: everyone commits to an update before anyone uploads one, so nobody can copy.

A contributor first signs ``Commitment(round, commitment)``; the root of all commitments goes on
chain; only then are updates revealed, each with the salt that opens its commitment. Pure checks,
shared by coordinator, contributors and auditors. Refusals have stable codes (``docs/protocol.md``).
Not handled: the updates themselves (``screening``), the order of events (``rounds``).
"""

from collections.abc import Mapping

from coordinator.protocol.commitments.digests import commitments_tree, sealed_commitment
from coordinator.protocol.commitments.documents import commitment_leaves
from coordinator.protocol.errors import ContributorError, MalformedUpdateError, VerificationError
from coordinator.protocol.round.chain_round import NO_ROOT
from coordinator.protocol.round.screening import RoundContext, Verdict, check_bond
from coordinator.protocol.signatures.eip712 import verify_statement
from coordinator.protocol.types import (
    Address,
    Commitment,
    JsonObject,
    RoundId,
    Signed,
    SigningDomain,
    UpdateMessage,
)

_DIGEST_BYTES = 32


def screen_commitment(
    signed: Signed[Commitment], context: RoundContext, known: Mapping[Address, bytes]
) -> Verdict:
    """Check a commitment before it is kept.

    Parameters
    ----------
    known
        What each contributor has committed to in this round so far.

    Returns
    -------
    ``"new"``, or ``"duplicate"`` for an equal repeat, which changes nothing.

    Raises
    ------
    MalformedUpdateError
        ``malformed-message``, ``wrong-round``, ``not-bonded``, or ``conflicting-commitment`` for a
        second, different one of the same contributor.
    SignatureError
        Any code of ``signing.verify_statement``.
    """
    statement = signed.statement
    _check_form(signed)
    if statement.round_id != context.round_id:
        expected = f"round {context.round_id}"
        raise _refusal(signed, "wrong-round", f"round {statement.round_id}", expected)
    check_bond(signed.signer, context)
    verify_statement(context.domain, signed)
    earlier = known.get(signed.signer, statement.commitment)
    if earlier == statement.commitment:
        return "duplicate" if signed.signer in known else "new"
    raise _refusal(
        signed,
        "conflicting-commitment",
        statement.commitment.hex(),
        f"{earlier.hex()} again",
        proven=True,
    )


def check_opening(
    signed: Signed[UpdateMessage],
    salt: bytes | None,
    domain: SigningDomain,
    commitments: Mapping[Address, bytes],
) -> None:
    """Check that an update is the one its contributor committed to.

    Parameters
    ----------
    signed
        The update's statement, its signature already checked.
    salt
        32 bytes, or ``None`` if none came with it.
    commitments
        The round's, as their root on chain binds them.

    Raises
    ------
    MalformedUpdateError
        ``not-committed`` or ``commitment-mismatch``.
    """
    who, round_id = signed.signer, signed.statement.round_id
    committed = commitments.get(who)
    if committed is None:
        raise MalformedUpdateError(
            f"update of {who}: it committed to nothing in round {round_id}, expected a commitment "
            "before uploads began",
            code="not-committed",
            contributor=who,
            round_id=round_id,
            expected="a commitment",
        )
    found = None
    if salt is not None and len(salt) == _DIGEST_BYTES:
        found = sealed_commitment(domain, round_id, who, salt, signed.statement.update)
    if found != committed:
        shown = found.hex() if found else "no salt of 32 bytes"
        raise MalformedUpdateError(
            f"update of {who}: with its salt it gives commitment {shown}, expected "
            f"{committed.hex()}",
            code="commitment-mismatch",
            contributor=who,
            round_id=round_id,
            found=shown,
            expected=committed.hex(),
        )


def read_commitments(
    document: JsonObject, round_id: RoundId, root: bytes
) -> Mapping[Address, bytes]:
    """Return what a commitments document says each contributor committed to.

    Parameters
    ----------
    root
        The commitments' root on chain, 32 bytes; zero where there is none.

    Raises
    ------
    VerificationError
        If it is another round's, its contributors are not in order of address once each, or it is
        not the document of this root.
    """
    try:
        leaves = commitment_leaves(document)
        found = commitments_tree(leaves).root
    except (KeyError, TypeError, ValueError) as error:
        raise VerificationError(f"commitments of round {round_id}: malformed: {error}") from error
    if leaves[0].round_id != round_id:
        raise VerificationError(
            f"commitments: of round {leaves[0].round_id}, expected round {round_id}"
        )
    if root == NO_ROOT or found != root:
        raise VerificationError(
            f"commitments of round {round_id}: root {found.hex()}, the chain holds {root.hex()}"
        )
    return {leaf.contributor: leaf.commitment for leaf in leaves}


def late_commitment(who: str, round_id: RoundId) -> ContributorError:
    """Return the refusal of a commitment that came when they were already on chain."""
    return ContributorError(
        f"commitment of {who}: round {round_id} is past its commitments, expected it before",
        code="late-commitment",
        round_id=round_id,
        expected="a commitment before uploads began",
    )


def early_update(who: str, round_id: RoundId) -> ContributorError:
    """Return the refusal of an update that came while commitments were still gathered."""
    return ContributorError(
        f"update of {who}: round {round_id} still gathers commitments, expected one",
        code="early-update",
        round_id=round_id,
        expected="a commitment first",
    )


def _check_form(signed: Signed[Commitment]) -> None:
    number, commitment = signed.statement.round_id, signed.statement.commitment
    if type(number) is not int or not 0 <= number < 1 << 64:
        raise _refusal(signed, "malformed-message", f"round {number!r}", "a uint64")
    if type(commitment) is not bytes or len(commitment) != _DIGEST_BYTES:
        raise _refusal(signed, "malformed-message", repr(commitment)[:80], "32 bytes")
    if type(signed.signature) is not bytes:
        raise _refusal(signed, "malformed-message", repr(signed.signature)[:80], "65 bytes")


def _refusal(
    signed: Signed[Commitment], code: str, found: str, expected: str, *, proven: bool = False
) -> MalformedUpdateError:
    """Make an error; ``proven`` once the signature has been checked."""
    who = f"commitment of {signed.signer}" if proven else "commitment"
    return MalformedUpdateError(
        f"{who}: {found}, expected {expected}",
        code=code,
        contributor=signed.signer if proven else None,
        round_id=int(signed.statement.round_id) if proven else None,
        found=found,
        expected=expected,
    )
