"""What a ``RoundDriver`` takes and gives, as JSON with attached vectors and back.

Both ends are ours, on one machine; but the ServerApp's end handles what strangers sent, so what
comes from there is checked field by field. Vectors travel as raw little-endian int32.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from coordinator.local.files import Buffer
from coordinator.ports import Refusal, RoundAnnouncement, RoundOutcome
from coordinator.protocol.errors import MalformedUpdateError
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.types import (
    Address,
    Commitment,
    Int32Vector,
    JsonObject,
    Presence,
    RoundId,
    Signed,
    SigningDomain,
    UpdateMessage,
)

assert sys.byteorder == "little", "vectors travel as they lie in memory"


# --- vectors -----------------------------------------------------------------------------------


def vector_bytes(vector: Int32Vector) -> Buffer:
    """Return the bytes of a vector of shape ``(d,)``, without a copy where it is contiguous."""
    return np.ascontiguousarray(vector, np.int32).view(np.uint8).data


def vector_from(attachments: Sequence[memoryview], dimension: int) -> Int32Vector:
    """Return the one attached vector, of shape ``(dimension,)``, as a view.

    Raises
    ------
    MalformedUpdateError
        ``wrong-size`` if it is not exactly that long.
    """
    found = [view.nbytes for view in attachments]
    if found != [4 * dimension]:
        raise MalformedUpdateError(
            f"update: attached {found} bytes, expected [{4 * dimension}]",
            code="wrong-size",
            found=str(found),
            expected=str([4 * dimension]),
        )
    return np.frombuffer(attachments[0], np.int32)


# --- announcements and outcomes: the service's word, taken as it is --------------------------


def announcement_json(told: RoundAnnouncement) -> JsonObject:
    """Return all of an announcement but its model."""
    return {
        "round": told.round_id,
        "model_root": told.model_root.hex(),
        "manifest": told.manifest.to_json().decode("ascii"),
        "chain_id": told.domain.chain_id,
        "contract": told.domain.verifying_contract,
        "rule_hash": told.rule_hash.hex(),
        "deadline": told.deadline,
        "sealed": told.sealed,
        "commitments": told.commitments,
    }


def announcement_from(told: Mapping[str, Any], model: Int32Vector) -> RoundAnnouncement:
    """Return the announcement that :func:`announcement_json` described."""
    return RoundAnnouncement(
        round_id=RoundId(told["round"]),
        model=model,
        model_root=bytes.fromhex(told["model_root"]),
        manifest=Manifest.from_json(told["manifest"].encode("ascii")),
        domain=SigningDomain(told["chain_id"], Address(told["contract"])),
        rule_hash=bytes.fromhex(told["rule_hash"]),
        deadline=told["deadline"],
        sealed=told["sealed"],
        commitments=told["commitments"],
    )


def outcome_json(outcome: RoundOutcome) -> JsonObject:
    """Return all of an outcome but its model."""
    return {
        "round": outcome.round_id,
        "status": outcome.status,
        "reason": outcome.reason,
        "model_root": outcome.model_root.hex(),
        "accepted": list(outcome.accepted),
        "refusals": [asdict(refusal) for refusal in outcome.refusals],
        "metrics": {str(who): dict(values) for who, values in outcome.metrics.items()},
    }


def outcome_from(told: Mapping[str, Any], model: Int32Vector) -> RoundOutcome:
    """Return the outcome that :func:`outcome_json` described."""
    return RoundOutcome(
        round_id=RoundId(told["round"]),
        status=told["status"],
        reason=told["reason"],
        model=model,
        model_root=bytes.fromhex(told["model_root"]),
        accepted=[Address(who) for who in told["accepted"]],
        refusals=[Refusal(**refusal) for refusal in told["refusals"]],
        metrics={Address(who): values for who, values in told["metrics"].items()},
    )


# --- what contributors say: anybody's words --------------------------------------------------


def signed_json(signed: Signed[UpdateMessage]) -> JsonObject:
    """Return a signed update's statement."""
    message = signed.statement
    return {
        "contributor": signed.signer,
        "round": message.round_id,
        "base_model": message.base_model.hex(),
        "update": message.update.hex(),
        "examples": message.examples,
        "metrics_hash": message.metrics_hash.hex(),
        "signature": signed.signature.hex(),
    }


def signed_from(told: object) -> Signed[UpdateMessage]:
    """Return the statement; its meaning is the round service's to check.

    Raises
    ------
    MalformedUpdateError
        ``malformed-statement`` if a field is missing or of another type.
    """
    fields = _object(told)
    message = UpdateMessage(
        round_id=RoundId(_int(fields, "round")),
        base_model=_bytes(fields, "base_model"),
        update=_bytes(fields, "update"),
        examples=_int(fields, "examples"),
        metrics_hash=_bytes(fields, "metrics_hash"),
    )
    return Signed(Address(_text(fields, "contributor")), message, _bytes(fields, "signature"))


def commitment_json(signed: Signed[Commitment]) -> JsonObject:
    """Return a signed commitment."""
    return {
        "signer": signed.signer,
        "round": signed.statement.round_id,
        "commitment": signed.statement.commitment.hex(),
        "signature": signed.signature.hex(),
    }


def commitment_from(told: object) -> Signed[Commitment]:
    """Return the commitment; raises as :func:`signed_from`."""
    fields = _object(told)
    statement = Commitment(RoundId(_int(fields, "round")), _bytes(fields, "commitment"))
    return Signed(Address(_text(fields, "signer")), statement, _bytes(fields, "signature"))


def presence_json(signed: Signed[Presence]) -> JsonObject:
    """Return a signed presence."""
    return {
        "signer": signed.signer,
        "node": signed.statement.node_id,
        "expiry": signed.statement.expiry,
        "signature": signed.signature.hex(),
    }


def presence_from(told: object) -> Signed[Presence]:
    """Return the presence; raises as :func:`signed_from`."""
    fields = _object(told)
    statement = Presence(_int(fields, "node"), _int(fields, "expiry"))
    return Signed(Address(_text(fields, "signer")), statement, _bytes(fields, "signature"))


def metrics_from(told: object) -> JsonObject:
    """Return reported metrics; raises as :func:`signed_from`."""
    return dict(_object(told))


def _object(told: object) -> Mapping[str, Any]:
    if not isinstance(told, dict):
        raise _malformed("statement", type(told).__name__, "an object")
    return told


def _int(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    if type(value) is not int:
        raise _malformed(name, repr(value)[:40], "an integer")
    return value


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise _malformed(name, repr(value)[:40], "text")
    return value


def _bytes(fields: Mapping[str, Any], name: str) -> bytes:
    text = _text(fields, name)
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise _malformed(name, repr(text)[:40], "hexadecimal digits") from error


def _malformed(what: str, found: str, expected: str) -> MalformedUpdateError:
    return MalformedUpdateError(
        f"update: {what} is {found}, expected {expected}",
        code="malformed-statement",
        found=found,
        expected=expected,
    )
