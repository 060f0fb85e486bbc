"""Arguments and results of a ``RoundDriver`` as JSON with attached vectors, and back.

Both processes are ours, on one machine; but the ServerApp handles untrusted replies, so what it
sends is checked field by field. Vectors are raw little-endian int32.
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

assert sys.byteorder == "little", "vectors are sent in the machine's own byte order"


# --- vectors -----------------------------------------------------------------------------------


def vector_bytes(vector: Int32Vector) -> Buffer:
    """Return the bytes of a vector of shape ``(d,)``, without a copy where it is contiguous."""
    return np.ascontiguousarray(vector, np.int32).view(np.uint8).data


def vector_from(attachments: Sequence[memoryview], dimension: int) -> Int32Vector:
    """Return the one attached vector, of shape ``(dimension,)``, as a view.

    Raises
    ------
    MalformedUpdateError
        ``wrong-size`` unless there is exactly one attachment of that length.
    """
    sizes = [view.nbytes for view in attachments]
    if sizes != [4 * dimension]:
        raise MalformedUpdateError(
            f"update: attached {sizes} bytes, expected [{4 * dimension}]",
            code="wrong-size",
            found=str(sizes),
            expected=str([4 * dimension]),
        )
    return np.frombuffer(attachments[0], np.int32)


# --- announcements and outcomes: from the service, which is trusted --------------------------


def announcement_json(announcement: RoundAnnouncement) -> JsonObject:
    """Return all of an announcement but its model."""
    return {
        "round": announcement.round_id,
        "model_root": announcement.model_root.hex(),
        "manifest": announcement.manifest.to_json().decode("ascii"),
        "chain_id": announcement.domain.chain_id,
        "contract": announcement.domain.verifying_contract,
        "rule_hash": announcement.rule_hash.hex(),
        "deadline": announcement.deadline,
        "sealed": announcement.sealed,
        "commitments": announcement.commitments,
    }


def announcement_from(document: Mapping[str, Any], model: Int32Vector) -> RoundAnnouncement:
    """Return the announcement that :func:`announcement_json` described."""
    return RoundAnnouncement(
        round_id=RoundId(document["round"]),
        model=model,
        model_root=bytes.fromhex(document["model_root"]),
        manifest=Manifest.from_json(document["manifest"].encode("ascii")),
        domain=SigningDomain(document["chain_id"], Address(document["contract"])),
        rule_hash=bytes.fromhex(document["rule_hash"]),
        deadline=document["deadline"],
        sealed=document["sealed"],
        commitments=document["commitments"],
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
        "metrics": {str(address): dict(values) for address, values in outcome.metrics.items()},
    }


def outcome_from(document: Mapping[str, Any], model: Int32Vector) -> RoundOutcome:
    """Return the outcome that :func:`outcome_json` described."""
    return RoundOutcome(
        round_id=RoundId(document["round"]),
        status=document["status"],
        reason=document["reason"],
        model=model,
        model_root=bytes.fromhex(document["model_root"]),
        accepted=[Address(address) for address in document["accepted"]],
        refusals=[Refusal(**refusal) for refusal in document["refusals"]],
        metrics={Address(address): values for address, values in document["metrics"].items()},
    )


# --- contributors' statements: untrusted ----------------------------------------------------


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


def signed_from(value: object) -> Signed[UpdateMessage]:
    """Return the statement; the round service checks its contents.

    Raises
    ------
    MalformedUpdateError
        ``malformed-statement`` if a field is missing or of another type.
    """
    fields = _object(value)
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


def commitment_from(value: object) -> Signed[Commitment]:
    """Return the commitment; raises as :func:`signed_from`."""
    fields = _object(value)
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


def presence_from(value: object) -> Signed[Presence]:
    """Return the presence; raises as :func:`signed_from`."""
    fields = _object(value)
    statement = Presence(_int(fields, "node"), _int(fields, "expiry"))
    return Signed(Address(_text(fields, "signer")), statement, _bytes(fields, "signature"))


def metrics_from(value: object) -> JsonObject:
    """Return reported metrics; raises as :func:`signed_from`."""
    return dict(_object(value))


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _malformed("statement", type(value).__name__, "an object")
    return value


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


def _malformed(part: str, found: str, expected: str) -> MalformedUpdateError:
    return MalformedUpdateError(
        f"update: {part} is {found}, expected {expected}",
        code="malformed-statement",
        found=found,
        expected=expected,
    )
