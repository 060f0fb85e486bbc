"""Signed statements in Flower's records, read from replies that nobody vouches for.

Names, types and lengths are compared before anything is decoded; what a statement says, and
whether its signature is good, is for the core.
"""

from collections.abc import Mapping
from typing import Any

import coordinator.adapters.flower_env  # noqa: F401  (before flwr)

# isort: split
from flwr.app import ConfigRecord, RecordDict

from coordinator.core import wire
from coordinator.core.signing import checksum_address
from coordinator.core.types import (
    Address,
    Commitment,
    Presence,
    RoundId,
    Signed,
    SignedUpdate,
    UpdateMessage,
)


def read_statement(content: RecordDict) -> SignedUpdate:
    """Return the signed statement of a reply that carries an update.

    Raises
    ------
    MalformedUpdateError
        ``wrong-records`` or ``malformed-statement``.
    """
    fields, what = _fields(content, wire.STATEMENT_RECORD, wire.STATEMENT_FIELDS)
    return _signed_update(fields, what)


def read_commitment(content: RecordDict) -> Signed[Commitment]:
    """Return the signed commitment of a reply to a sealed round's train message.

    Raises
    ------
    MalformedUpdateError
        ``wrong-records`` or ``malformed-statement``.
    """
    if set(content) != {wire.COMMITMENT}:
        expected = f"only {wire.COMMITMENT!r}: the round is sealed"
        raise wire.malformed("wrong-records", "reply", f"records {sorted(content)[:4]}", expected)
    fields, what = _fields(content, wire.COMMITMENT, wire.COMMITMENT_FIELDS)
    statement = Commitment(
        _round(fields, what), _hex(fields["commitment"], 32, f"{what}['commitment']")
    )
    signature = _hex(fields["signature"], 65, f"{what}['signature']")
    return Signed(_address(fields["contributor"], f"{what}['contributor']"), statement, signature)


def read_salt(content: RecordDict) -> bytes:
    """Return what opens the commitment of a revealed update, 32 bytes.

    Raises
    ------
    MalformedUpdateError
        ``wrong-records`` or ``malformed-statement``.
    """
    fields, what = _fields(content, wire.REVEAL, wire.REVEAL_FIELDS)
    return _hex(fields["salt"], 32, f"{what}['salt']")


def read_presence(content: RecordDict, node_id: int) -> Signed[Presence]:
    """Return the answer to a hello; what it is worth is for ``core.statements`` to say.

    Raises
    ------
    MalformedUpdateError
        ``wrong-records`` or ``malformed-statement``.
    """
    fields, what = _fields(content, wire.HELLO, wire.HELLO_FIELDS)
    signature = _hex(fields["signature"], 65, f"{what}['signature']")
    if fields["expiry"] < 0:
        found = str(fields["expiry"])
        raise wire.malformed("malformed-statement", f"{what}['expiry']", found, "0 or more")
    account = _address(fields["account"], f"{what}['account']")
    return Signed(account, Presence(node_id, fields["expiry"]), signature)


def _fields(
    content: RecordDict, name: str, expected: Mapping[str, type]
) -> tuple[dict[str, Any], str]:
    """Return a config record's values, types and version checked, and its name for messages."""
    record, what = content.get(name), f"reply {name!r}"
    if not isinstance(record, ConfigRecord):
        found = "no such config record" if record is None else type(record).__name__
        raise wire.malformed("wrong-records", what, found, "a config record")
    if set(record) != set(expected):
        raise wire.malformed(
            "malformed-statement", what, f"keys {sorted(record)[:10]}", f"keys {sorted(expected)}"
        )
    for key, kind in expected.items():
        if type(record[key]) is not kind:
            raise wire.malformed(
                "malformed-statement", f"{what}[{key!r}]", type(record[key]).__name__, kind.__name__
            )
    if record["version"] != wire.WIRE_VERSION:
        raise wire.malformed(
            "malformed-statement", what, f"version {record['version']!r}", str(wire.WIRE_VERSION)
        )
    return dict(record), what


def _signed_update(fields: Mapping[str, Any], what: str) -> SignedUpdate:
    address = _address(fields["contributor"], f"{what}['contributor']")
    message = UpdateMessage(
        round_id=_round(fields, what),
        base_model=_hex(fields["base-model"], 32, f"{what}['base-model']"),
        update=_hex(fields["update"], 32, f"{what}['update']"),
        examples=fields["examples"],
        metrics_hash=_hex(fields["metrics-hash"], 32, f"{what}['metrics-hash']"),
    )
    signature = _hex(fields["signature"], 65, f"{what}['signature']")
    return SignedUpdate(address, message, signature)


def _address(text: str, what: str) -> Address:
    address = checksum_address(_hex(text[2:], 20, what))
    if text != address:
        raise wire.malformed("malformed-statement", what, repr(text), address)
    return address


def _round(fields: Mapping[str, Any], what: str) -> RoundId:
    if not 0 <= fields["round"] < 2**64:
        raise wire.malformed(
            "malformed-statement", f"{what}['round']", str(fields["round"]), "a 64-bit number"
        )
    return RoundId(fields["round"])


def _hex(text: str, size: int, what: str) -> bytes:
    expected = f"{2 * size} hexadecimal digits"
    if len(text) != 2 * size:
        raise wire.malformed("malformed-statement", what, f"{len(text)} characters", expected)
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise wire.malformed("malformed-statement", what, repr(text)[:60], expected) from error
