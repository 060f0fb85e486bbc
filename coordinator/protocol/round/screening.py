"""Checks on one incoming update, the cheapest first, before any of it is kept (ADR 37).

Two steps, so that nothing is allocated for an unknown sender: :func:`screen_envelope` reads only
the declared sizes and the signed statement; :func:`screen_vector` reads the values. Every refusal
is a ``ContributorError`` with a stable ``code`` (listed in ``docs/protocol.md``). Until the
signature has been checked a refusal names no contributor: a message that only mentions one proves
nothing about it.

In a sealed round all contributors commit to their updates before any is uploaded, so that nobody
can copy one. A contributor first signs ``Commitment(round, commitment)``; the root of all
commitments is put on chain; then updates are revealed, each with the salt that opens its
commitment. Coordinator, contributors and auditors share these checks. Not handled: deadlines (the
contract's), recording refusals, and the order of events (``round.machine``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from coordinator.protocol.commitments.digests import metrics_hash
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.compiled import compiled
from coordinator.protocol.equivocation import EquivocationError
from coordinator.protocol.errors import ContributorError, MalformedUpdateError
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.numbers.norms import squared_norm
from coordinator.protocol.signatures.eip712 import sealed_commitment, verify_statement
from coordinator.protocol.types import (
    Address,
    Commitment,
    Int32Vector,
    RoundId,
    Rule,
    Signed,
    SigningDomain,
    UpdateLimits,
    UpdateMessage,
    Wei,
)

Verdict = Literal["new", "duplicate"]

_UINT64_MAX = (1 << 64) - 1
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class RoundContext:
    """The data of the open round that an update is checked against.

    ``stakes`` are the bonds in wei when the round opened; an absent address has none.
    """

    round_id: RoundId
    base_model_root: bytes
    manifest: Manifest
    domain: SigningDomain
    rule: Rule
    stakes: Mapping[Address, Wei]
    limits: UpdateLimits = field(default_factory=UpdateLimits)


def screen_envelope(
    signed: Signed[UpdateMessage],
    declared_bytes: int,
    context: RoundContext,
    accepted: Mapping[Address, Signed[UpdateMessage]],
    *,
    metrics: Mapping[str, Any] | None = None,
    dtype: str = "int32",
    shape: tuple[int, ...] | None = None,
) -> Verdict:
    """Check all of an update but its values.

    Parameters
    ----------
    signed
        The statement that came with the update.
    declared_bytes
        Size of the values as announced by the transport.
    context
        The open round.
    accepted
        The updates accepted in this round so far, by contributor.
    metrics
        The contributor's metrics, checked against the signed hash; ``None`` if they have not
        arrived yet.
    dtype, shape
        As announced by the transport; ``None`` if it announces no shape.

    Returns
    -------
    ``"new"``, or ``"duplicate"`` for an equal repeat, which changes nothing.

    Raises
    ------
    MalformedUpdateError
        ``wrong-dtype``, ``too-large``, ``wrong-shape``, ``wrong-size``, ``malformed-message``,
        ``wrong-round``, ``not-bonded``, ``conflicting-repeat``, ``wrong-base-model``,
        ``examples-out-of-range``, ``bad-metrics``, ``wrong-metrics``.
    SignatureError
        Any code of ``eip712.verify_statement``.
    EquivocationError
        If the contributor signed another update root for this round; carries both statements.
    """
    _check_declared(declared_bytes, dtype, shape, context)
    _check_form(signed)
    if signed.statement.round_id != context.round_id:
        raise _refusal("wrong-round", "round", signed.statement.round_id, context.round_id)
    check_bond(signed.signer, context)
    verify_statement(context.domain, signed)
    earlier = accepted.get(signed.signer)
    if earlier is not None:
        return _check_repeat(earlier, signed)
    _check_content(signed, context, metrics)
    return "new"


def screen_vector(
    vector: NDArray[Any],
    signed: Signed[UpdateMessage],
    context: RoundContext,
    *,
    threads: int | None = None,
) -> None:
    """Check the values of an update whose envelope has passed.

    Parameters
    ----------
    vector
        Shape ``(d,)``, ``int32``, C-contiguous; not modified.
    signed, context
        As in :func:`screen_envelope`.
    threads
        Threads for the hash; all cores this process may use when ``None``.

    Raises
    ------
    MalformedUpdateError
        ``wrong-dtype``, ``wrong-shape``, ``norm-too-large`` or ``wrong-root``.
    """
    if vector.dtype != np.int32 or not vector.dtype.isnative:
        raise _refusal("wrong-dtype", "values' dtype", vector.dtype.str, "native int32", signed)
    expected = (context.manifest.dimension,)
    if vector.shape != expected or not vector.flags.c_contiguous:
        found = f"{vector.shape}, strides {vector.strides}"
        raise _refusal("wrong-shape", "values' shape", found, f"{expected}, contiguous", signed)
    bound = context.rule.norm_bound_q
    if bound and (square := squared_norm(vector)) > bound * bound:
        raise _refusal("norm-too-large", "squared L2 norm", square, f"<= {bound}^2", signed)
    root = parameter_root(vector, context.manifest, threads=threads)
    if root != signed.statement.update:
        raise _refusal("wrong-root", "values hash to", root, signed.statement.update, signed)


def screen_range(
    vector: Int32Vector, base_model: Int32Vector, signed: Signed[UpdateMessage]
) -> None:
    """Check that the contributor's own model, base plus update, fits the int32 range.

    If all of them do, so does any mean of them: no aggregate of accepted updates can overflow,
    except by a server learning rate above one or by momentum.

    Parameters
    ----------
    vector, base_model
        Shape ``(d,)`` int32 each; not modified.

    Raises
    ------
    MalformedUpdateError
        ``out-of-range``; names the first such parameter.
    """
    index = int(_first_overflow(base_model, vector))
    if index >= 0:
        found = int(base_model[index]) + int(vector[index])
        raise _refusal("out-of-range", f"parameter {index} becomes", found, "an int32", signed)


def check_bond(contributor: Address, context: RoundContext) -> None:
    """Raise ``MalformedUpdateError`` (``not-bonded``) if an account's bond is too small."""
    bond = context.stakes.get(contributor, 0)
    if bond < context.limits.min_stake_wei:
        place = f"bond of {contributor} when the round opened"
        raise _refusal("not-bonded", place, f"{bond} wei", f">= {context.limits.min_stake_wei} wei")


@compiled
def _first_overflow(base: Any, update: Any) -> int:
    for i in range(base.size):
        total = np.int64(base[i]) + np.int64(update[i])
        if total > 2147483647 or total < -2147483648:
            return i
    return -1


def _check_declared(
    declared_bytes: int, dtype: str, shape: tuple[int, ...] | None, context: RoundContext
) -> None:
    if dtype != "int32":  # before the size: that of another dtype is wrong for this reason
        raise _refusal("wrong-dtype", "declared dtype", dtype, "int32")
    if declared_bytes > context.limits.max_bytes:
        raise _refusal(
            "too-large", "declared bytes", declared_bytes, f"<= {context.limits.max_bytes}"
        )
    dimension = context.manifest.dimension
    if shape is not None and shape != (dimension,):
        raise _refusal("wrong-shape", "declared shape", shape, (dimension,))
    if declared_bytes != 4 * dimension:
        raise _refusal("wrong-size", "declared bytes", declared_bytes, 4 * dimension)


def _check_form(signed: Signed[UpdateMessage]) -> None:
    message = signed.statement
    for name in ("round_id", "examples"):
        value = getattr(message, name)
        if type(value) is not int or not 0 <= value <= _UINT64_MAX:
            raise _refusal("malformed-message", name, repr(value), "a uint64")
    for name in ("base_model", "update", "metrics_hash"):
        value = getattr(message, name)
        if type(value) is not bytes or len(value) != 32:
            raise _refusal("malformed-message", name, repr(value), "32 bytes")
    if type(signed.signature) is not bytes:
        raise _refusal("malformed-message", "signature", repr(signed.signature), "65 bytes")


def _check_repeat(earlier: Signed[UpdateMessage], signed: Signed[UpdateMessage]) -> Verdict:
    # Before the content is checked: two signed update roots are evidence, whatever else is wrong
    # with them (ADR 37).
    if earlier.statement == signed.statement:
        return "duplicate"
    if earlier.statement.update == signed.statement.update:
        raise _refusal(
            "conflicting-repeat",
            "second statement about the same update",
            "another base model, example count or metrics",
            "an equal repeat",
            signed,
        )
    raise EquivocationError(
        f"{signed.signer} signed two updates for round {signed.statement.round_id}: "
        f"{earlier.statement.update.hex()} and {signed.statement.update.hex()}",
        evidence=(earlier, signed),
    )


def _check_content(
    signed: Signed[UpdateMessage], context: RoundContext, metrics: Mapping[str, Any] | None
) -> None:
    message = signed.statement
    if message.base_model != context.base_model_root:
        raise _refusal(
            "wrong-base-model", "base model", message.base_model, context.base_model_root, signed
        )
    low, high = context.limits.min_examples, context.limits.max_examples
    if not low <= message.examples <= high:
        raise _refusal(
            "examples-out-of-range", "examples", message.examples, f"{low} to {high}", signed
        )
    if metrics is not None and (found := metrics_hash(metrics)) != message.metrics_hash:
        raise _refusal("wrong-metrics", "metrics hash to", found, message.metrics_hash, signed)


def _refusal(
    code: str,
    place: str,
    found: object,
    expected: object,
    signed: Signed[UpdateMessage] | None = None,
) -> MalformedUpdateError:
    """Return a refusal; ``signed`` is given only once the signature has been checked (ADR 37)."""
    found_text = found.hex() if isinstance(found, bytes) else str(found)
    expected_text = expected.hex() if isinstance(expected, bytes) else str(expected)
    subject = f"update of {signed.signer}: " if signed else "update: "
    return MalformedUpdateError(
        f"{subject}{place} {found_text}, expected {expected_text}",
        code=code,
        contributor=signed.signer if signed else None,
        round_id=signed.statement.round_id if signed else None,
        found=found_text,
        expected=expected_text,
    )


# --- sealed rounds -------------------------------------------------------------------------------


def screen_commitment(
    signed: Signed[Commitment], context: RoundContext, known: Mapping[Address, bytes]
) -> Verdict:
    """Check a commitment before it is kept.

    Parameters
    ----------
    known
        The commitments of this round so far, by contributor.

    Returns
    -------
    ``"new"``, or ``"duplicate"`` for an equal repeat, which changes nothing.

    Raises
    ------
    MalformedUpdateError
        ``malformed-message``, ``wrong-round``, ``not-bonded``, or ``conflicting-commitment`` for a
        second, different commitment of the same contributor.
    SignatureError
        Any code of ``eip712.verify_statement``.
    """
    statement = signed.statement
    _check_commitment_form(signed)
    if statement.round_id != context.round_id:
        expected = f"round {context.round_id}"
        raise _commitment_refusal(signed, "wrong-round", f"round {statement.round_id}", expected)
    check_bond(signed.signer, context)
    verify_statement(context.domain, signed)
    earlier = known.get(signed.signer, statement.commitment)
    if earlier == statement.commitment:
        return "duplicate" if signed.signer in known else "new"
    raise _commitment_refusal(
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
        The update's statement, whose signature was checked before.
    salt
        32 bytes, or ``None`` if the update came without one.
    commitments
        The round's commitments, by contributor, as committed on chain.

    Raises
    ------
    MalformedUpdateError
        ``not-committed`` or ``commitment-mismatch``.
    """
    contributor, round_id = signed.signer, signed.statement.round_id
    committed = commitments.get(contributor)
    if committed is None:
        raise MalformedUpdateError(
            f"update of {contributor}: it committed to nothing in round {round_id}, expected a "
            "commitment before uploads began",
            code="not-committed",
            contributor=contributor,
            round_id=round_id,
            expected="a commitment",
        )
    computed = None
    if salt is not None and len(salt) == _DIGEST_BYTES:
        computed = sealed_commitment(domain, round_id, contributor, salt, signed.statement.update)
    if computed != committed:
        shown = computed.hex() if computed else "no salt of 32 bytes"
        raise MalformedUpdateError(
            f"update of {contributor}: with its salt it gives commitment {shown}, expected "
            f"{committed.hex()}",
            code="commitment-mismatch",
            contributor=contributor,
            round_id=round_id,
            found=shown,
            expected=committed.hex(),
        )


def late_commitment(contributor: str, round_id: RoundId) -> ContributorError:
    """Return the refusal of a commitment that arrived after the commitments were closed."""
    return ContributorError(
        f"commitment of {contributor}: round {round_id} is past its commitments, "
        "expected it before",
        code="late-commitment",
        round_id=round_id,
        expected="a commitment before uploads began",
    )


def early_update(contributor: str, round_id: RoundId) -> ContributorError:
    """Return the refusal of an update that arrived before the commitments were closed."""
    return ContributorError(
        f"update of {contributor}: round {round_id} still gathers commitments, expected one",
        code="early-update",
        round_id=round_id,
        expected="a commitment first",
    )


def _check_commitment_form(signed: Signed[Commitment]) -> None:
    number, commitment = signed.statement.round_id, signed.statement.commitment
    if type(number) is not int or not 0 <= number < 1 << 64:
        raise _commitment_refusal(signed, "malformed-message", f"round {number!r}", "a uint64")
    if type(commitment) is not bytes or len(commitment) != _DIGEST_BYTES:
        raise _commitment_refusal(signed, "malformed-message", repr(commitment)[:80], "32 bytes")
    if type(signed.signature) is not bytes:
        raise _commitment_refusal(
            signed, "malformed-message", repr(signed.signature)[:80], "65 bytes"
        )


def _commitment_refusal(
    signed: Signed[Commitment], code: str, found: str, expected: str, *, proven: bool = False
) -> MalformedUpdateError:
    """Return a refusal; ``proven`` is true once the signature has been checked (ADR 37)."""
    subject = f"commitment of {signed.signer}" if proven else "commitment"
    return MalformedUpdateError(
        f"{subject}: {found}, expected {expected}",
        code=code,
        contributor=signed.signer if proven else None,
        round_id=int(signed.statement.round_id) if proven else None,
        found=found,
        expected=expected,
    )
