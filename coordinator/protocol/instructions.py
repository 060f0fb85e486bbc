"""Instructions as the coordinator signs them, and what two that differ prove (ADR 164, 165).

A coordinator signs one instruction for each phase of a round, and sends the same to every
participant. Two different ones with its signature are equivocation, and prove it to anybody: the
coordinator's address follows from the contract's, which is signed too. Not handled: keeping them
(``coordinator.stores.instructions``), sending them, and comparing one with the chain
(``clients.mod``).
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from coordinator.protocol.canonical import canonical_json
from coordinator.protocol.errors import FedproofError, SignatureError, VerificationError
from coordinator.protocol.keccak import keccak256
from coordinator.protocol.signatures.eip712 import checksum_address, verify_statement
from coordinator.protocol.types import (
    PHASES,
    SIGNATURE_BYTES,
    Address,
    JsonObject,
    RoundId,
    RoundInstruction,
    Signed,
    SignedInstruction,
    SigningDomain,
    Slot,
    address_bytes,
)

TRAIN, EVALUATE, REVEAL = PHASES

MOST_CONTENT_BYTES: Final = 1 << 18
"""Longer content is kept as its digest only: it proves as much, and fills no disk."""

_LONGEST: Final = 70
_RLP_LIST_OF_22_BYTES: Final = b"\xd6"
_RLP_20_BYTES: Final = b"\x94"
_RLP_ZERO: Final = b"\x80"
_FIELDS: Final = {
    "chain_id": int,
    "contract": str,
    "coordinator": str,
    "round": int,
    "phase": str,
    "base_model": str,
    "rule_hash": str,
    "deadline": int,
    "content_hash": str,
    "signature": str,
}


def phase_number(phase: str) -> int:
    """Return the number of a phase in the signed struct."""
    return PHASES.index(phase) + 1


def contract_of(coordinator: Address) -> Address:
    """Return the address of the contract that an account deployed by its first transaction.

    A federation's contract is deployed by its coordinator so (ADR 120): contract and coordinator
    are bound to each other without a look at the chain.

    Examples
    --------
    >>> contract_of(Address("0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"))
    '0xF2E246BB76DF876Cef8b38ae84130F4F55De395b'
    """
    deployer_and_nonce = _RLP_20_BYTES + address_bytes(coordinator) + _RLP_ZERO
    return checksum_address(keccak256(_RLP_LIST_OF_22_BYTES + deployer_and_nonce)[12:])


def verify_instruction(instruction: SignedInstruction) -> None:
    """Check that the coordinator of the domain's contract signed an instruction.

    Raises
    ------
    SignatureError
        ``not-coordinator``, or any code of ``eip712.verify_statement``.
    VerificationError
        If a field does not fit its ABI type.
    """
    domain, signed = instruction.domain, instruction.signed
    verify_statement(domain, signed)
    contract = contract_of(signed.signer)
    if contract.lower() != domain.verifying_contract.lower():
        raise SignatureError(
            f"round {signed.statement.round_id}: instruction signed by {signed.signer}, who "
            f"deployed {contract}, expected the coordinator of {domain.verifying_contract}",
            code="not-coordinator",
            round_id=int(signed.statement.round_id),
            found=signed.signer,
            expected=f"the coordinator of {domain.verifying_contract}",
        )


# --- content -----------------------------------------------------------------------------------


def message_content(
    config: Mapping[str, Any],
    *,
    records: tuple[str, str],
    tensor_order: Sequence[str],
    buffers: Mapping[str, bytes],
    sealed: bool,
) -> JsonObject:
    """Return the content of an instruction to train or to evaluate.

    Parameters
    ----------
    config
        The application's own: integers, floats, text, bytes, booleans, or lists of them.
    records
        The names of the model's record and of the config's.
    buffers
        The digests of the arrays beside the model (:func:`buffer_digest`), by name.
    """
    return {
        "config": {key: _plain(value) for key, value in config.items()},
        "records": list(records),
        "tensor_order": list(tensor_order),
        "buffers": {name: digest.hex() for name, digest in buffers.items()},
        "sealed": sealed,
    }


def config_of(content: JsonObject) -> dict[str, Any]:
    """Return the application's config in an instruction's content."""
    return {key: _value(plain) for key, plain in content["config"].items()}


def reveal_content(commitments: bytes) -> JsonObject:
    """Return the content of an instruction to reveal; ``commitments`` are the document's bytes."""
    return {"commitments": hashlib.sha256(commitments).hexdigest()}


def buffer_digest(dtype: str, shape: Sequence[int], data: bytes) -> bytes:
    """Return the digest of an array that travels beside the model, 32 bytes."""
    head = canonical_json([dtype, list(shape)])
    return hashlib.sha256(head + b"\n" + data).digest()


def content_hash(content: JsonObject) -> bytes:
    """Return what is signed of a content, 32 bytes."""
    return hashlib.sha256(canonical_json(content)).digest()


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    return value


def _value(plain: Any) -> Any:
    if isinstance(plain, list):
        return [_value(item) for item in plain]
    if isinstance(plain, dict):
        ((kind, text),) = plain.items()
        return bytes.fromhex(text) if kind == "bytes" else float(text)
    return plain


# --- equivocation ------------------------------------------------------------------------------


def equivocations(
    instructions: Iterable[SignedInstruction],
) -> Iterator[tuple[SignedInstruction, SignedInstruction]]:
    """Yield two different instructions for each slot that has them, by round and phase.

    The signatures are not checked here. Which two of several does not depend on their order.
    """
    slots: dict[Slot, dict[RoundInstruction, SignedInstruction]] = {}
    for instruction in instructions:
        slots.setdefault(instruction.slot, {})[instruction.signed.statement] = instruction
    for slot in sorted(slots, key=lambda s: (s.round_id, phase_number(s.phase), str(s))):
        found = sorted(slots[slot].values(), key=lambda i: i.signed.signature)
        if len(found) > 1:
            yield found[0], found[1]


def differences(first: SignedInstruction, second: SignedInstruction) -> dict[str, list[Any]]:
    """Return the fields in which two instructions differ, with both values.

    A field of the content is named by its path, such as ``content.config.lr``; the content's hash
    alone where a content was not kept.
    """
    ours, theirs = instruction_json(first), instruction_json(second)
    names = ("base_model", "rule_hash", "deadline")
    found = {name: [ours[name], theirs[name]] for name in names if ours[name] != theirs[name]}
    if ours["content_hash"] == theirs["content_hash"]:
        return found
    if first.content is None or second.content is None:
        return {**found, "content_hash": [ours["content_hash"], theirs["content_hash"]]}
    left, right = _flat(first.content), _flat(second.content)
    for path in sorted({*left, *right}):
        pair = [left.get(path), right.get(path)]
        if pair[0] != pair[1] or type(pair[0]) is not type(pair[1]):
            found[path] = pair
    return found


def _flat(content: Mapping[str, Any], path: str = "content") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        place = f"{path}.{key}"
        flat.update(_flat(value, place) if isinstance(value, dict) else {place: value})
    return flat


# --- JSON --------------------------------------------------------------------------------------


def instruction_json(instruction: SignedInstruction) -> JsonObject:
    """Return an instruction as plain values, as files and evidence hold it."""
    statement = instruction.signed.statement
    return {
        "chain_id": instruction.domain.chain_id,
        "contract": instruction.domain.verifying_contract,
        "coordinator": instruction.signed.signer,
        "round": int(statement.round_id),
        "phase": PHASES[statement.phase - 1],
        "base_model": statement.base_model.hex(),
        "rule_hash": statement.rule_hash.hex(),
        "deadline": statement.deadline,
        "content_hash": statement.content.hex(),
        "content": instruction.content,
        "signature": instruction.signed.signature.hex(),
    }


def instruction_from(value: object, place: str) -> SignedInstruction:
    """Return the instruction that :func:`instruction_json` encoded; its signature is not checked.

    Raises
    ------
    VerificationError
        If a field is missing, unknown or of another form; or if the content is not the one whose
        digest is there. Names ``place`` and the field.
    """
    fields = _fields(value, place)
    if fields["phase"] not in PHASES:
        raise _wrong(place, "phase", fields["phase"], " or ".join(PHASES))
    for name, limit in (("chain_id", 1 << 256), ("round", 1 << 64), ("deadline", 1 << 64)):
        if not 0 <= fields[name] < limit:
            raise _wrong(place, name, fields[name], f"0 or more, below {limit}")
    statement = RoundInstruction(
        round_id=RoundId(fields["round"]),
        phase=phase_number(fields["phase"]),
        base_model=_hex(fields, "base_model", 32, place),
        rule_hash=_hex(fields, "rule_hash", 32, place),
        deadline=fields["deadline"],
        content=_hex(fields, "content_hash", 32, place),
    )
    domain = SigningDomain(fields["chain_id"], _address(fields, "contract", place))
    signer = _address(fields, "coordinator", place)
    signature = _hex(fields, "signature", SIGNATURE_BYTES, place)
    content = fields["content"]
    if content is not None and _hash_of(content, place) != statement.content:
        expected = f"content_hash {statement.content.hex()}"
        raise VerificationError(f"{place}: content: has another digest, expected {expected}")
    return SignedInstruction(domain, Signed(signer, statement, signature), content)


def _fields(value: object, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise VerificationError(f"{place}: found {type(value).__name__}, expected an object")
    if set(value) != {*_FIELDS, "content"}:
        wrong = sorted({*_FIELDS, "content"} ^ set(value))
        raise VerificationError(f"{place}: {ascii(wrong[0])[:_LONGEST]}: missing or unknown")
    for name, kind in _FIELDS.items():
        if type(value[name]) is not kind:
            expected = "an integer" if kind is int else "text"
            raise _wrong(place, name, type(value[name]).__name__, expected)
    if value["content"] is not None and not isinstance(value["content"], dict):
        raise _wrong(place, "content", type(value["content"]).__name__, "an object or null")
    return value


def _hash_of(content: JsonObject, place: str) -> bytes:
    try:
        return content_hash(content)
    except (FedproofError, ValueError) as error:  # a number that is not finite, too deep
        raise VerificationError(f"{place}: content: {error}") from error


def _hex(fields: Mapping[str, Any], name: str, size: int, place: str) -> bytes:
    text, expected = str(fields[name]), f"{2 * size} lower-case hexadecimal digits"
    if len(text) != 2 * size or set(text) - set("0123456789abcdef"):
        raise _wrong(place, name, text, expected)
    return bytes.fromhex(text)


def _address(fields: Mapping[str, Any], name: str, place: str) -> Address:
    text = str(fields[name])
    try:
        address = checksum_address(bytes.fromhex(text.removeprefix("0x")))
    except (ValueError, SignatureError):
        address = Address("")
    if text != address:
        raise _wrong(place, name, text, "an address with its checksum")
    return address


def _wrong(place: str, name: str, found: object, expected: str) -> VerificationError:
    shown = ascii(found)[:_LONGEST] if isinstance(found, str) else found
    return VerificationError(f"{place}: {name}: found {shown}, expected {expected}")
