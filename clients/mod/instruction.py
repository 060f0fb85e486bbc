"""Reads the coordinator's instructions, and checks them against the chain before any training.

Instructions are untrusted (ADR 63): the model's root is computed and compared with the one the
contract stores, and chain, contract, rule and deadline are compared too. The coordinator's
signature is checked, and what it signed is kept, before that
(:mod:`clients.mod.instruction_check`). Every refusal has a code (``docs/flower.md`` lists them).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# isort: split
import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from clients.mod.chain_view import CachedChainView
from coordinator.protocol import wire
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.errors import (
    ChainUnavailableError,
    FedproofError,
    MalformedUpdateError,
    VerificationError,
)
from coordinator.protocol.instructions import buffer_digest, message_content
from coordinator.protocol.numbers.fixed_point import dequantise
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.round.chain_round import ChainRound, RoundStatus
from coordinator.protocol.types import Int32Vector, JsonObject, RoundId, SigningDomain


class InstructionRefusedError(FedproofError):
    """The client declines to take part; ``code`` is the reason's stable kebab-case name."""

    exit_code = 3

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True)
class Instruction:
    """A well-formed instruction; not yet compared with the chain.

    ``sealed`` says whether a commitment is requested instead of the update itself.
    ``model_bytes`` is the committed vector in ``.npy`` format, ``config`` the user's own.
    ``deadline`` is the round's, chain time in seconds; ``signature`` the coordinator's, unchecked.
    """

    round_id: RoundId
    base_model: bytes
    rule_hash: bytes
    chain_id: int
    contract: str
    deadline: int
    signature: bytes
    manifest: Manifest
    model_bytes: bytes
    buffers: Mapping[str, Array]
    tensor_order: tuple[str, ...]
    arrays_name: str
    config_name: str
    config: ConfigRecord
    sealed: bool = False

    @property
    def content(self) -> JsonObject:
        """What its signature covers besides its other fields; the model and manifest by root."""
        return message_content(
            self.config,
            records=(self.arrays_name, self.config_name),
            tensor_order=self.tensor_order,
            buffers={
                name: buffer_digest(array.dtype, array.shape, array.data)
                for name, array in self.buffers.items()
            },
            sealed=self.sealed,
        )


@dataclass(frozen=True)
class VerifiedModel:
    """The committed vector of a round and its named float tensors, checked against the chain."""

    root: bytes
    base: Int32Vector
    arrays: ArrayRecord


def read_instruction(content: RecordDict) -> Instruction:
    """Parse an instruction.

    Raises
    ------
    InstructionRefusedError
        ``not-fedproof``, ``unsupported-version``, ``unsigned-instruction`` or
        ``malformed-instruction``.
    """
    arrays = [
        (name, record[wire.MODEL_ARRAY])
        for name, record in content.array_records.items()
        if wire.MODEL_ARRAY in record
    ]
    configs = list(content.config_records.items())
    if len(arrays) != 1 or len(configs) != 1 or wire.VERSION not in configs[0][1]:
        raise InstructionRefusedError(
            "not-fedproof",
            f"found records {sorted(content)}, expected an array {wire.MODEL_ARRAY!r} and one "
            f"config record with {wire.VERSION!r}",
        )
    (arrays_name, model), (config_name, config) = arrays[0], configs[0]
    if config[wire.VERSION] != wire.WIRE_VERSION:
        raise InstructionRefusedError(
            "unsupported-version", f"found {config[wire.VERSION]!r}, expected {wire.WIRE_VERSION}"
        )
    require_signature(config)
    buffers = dict(content.array_records.get(wire.BUFFERS_RECORD, ArrayRecord()))
    try:
        return _instruction(config, model, buffers, arrays_name, config_name)
    except (KeyError, TypeError, ValueError, AttributeError, VerificationError) as error:
        raise InstructionRefusedError(
            "malformed-instruction", f"{type(error).__name__}: {error}"
        ) from error


def require_signature(record: Mapping[str, Any]) -> None:
    """Raise ``InstructionRefusedError`` (``unsigned-instruction``) if there is no signature."""
    if wire.SIGNATURE not in record:
        raise InstructionRefusedError(
            "unsigned-instruction",
            f"the instruction has no {wire.SIGNATURE!r}, expected the coordinator's signature",
        )


def _instruction(
    config: ConfigRecord,
    model: Array,
    buffers: Mapping[str, Array],
    arrays_name: str,
    config_name: str,
) -> Instruction:
    fields: Mapping[str, Any] = config
    own = {
        key: value for key, value in config.items() if not key.startswith(wire.INSTRUCTION_PREFIX)
    }
    manifest = Manifest.from_json(fields[wire.MANIFEST].encode("ascii"))
    names = [spec.name for spec in manifest.tensors]
    order = tuple(fields.get(wire.TENSOR_ORDER, names))
    if sorted(order) != sorted([*names, *buffers]):
        raise ValueError(f"{wire.TENSOR_ORDER} does not list the tensors and buffers, once each")
    return Instruction(
        round_id=RoundId(integer_field(fields, wire.ROUND)),
        base_model=digest_field(fields, wire.BASE_MODEL),
        rule_hash=digest_field(fields, wire.RULE_HASH),
        chain_id=integer_field(fields, wire.CHAIN_ID),
        contract=str(fields[wire.CONTRACT]),
        deadline=integer_field(fields, wire.DEADLINE),
        signature=bytes.fromhex(fields[wire.SIGNATURE]),
        manifest=manifest,
        model_bytes=model.data,
        buffers=buffers,
        tensor_order=order,
        arrays_name=arrays_name,
        config_name=config_name,
        config=ConfigRecord(own),
        sealed=bool(fields.get(wire.SEALED, 0)),
    )


def digest_field(fields: Mapping[str, Any], name: str) -> bytes:
    """Return a digest of 32 bytes in hexadecimal; raises ``ValueError`` or ``TypeError``."""
    digest = bytes.fromhex(fields[name])
    if len(digest) != 32:
        raise ValueError(f"{name} holds {len(digest)} bytes, expected 32")
    return digest


def integer_field(fields: Mapping[str, Any], name: str) -> int:
    """Return an integer of 0 or more; raises ``TypeError``, ``KeyError`` if there is none."""
    value = fields[name]
    if type(value) is not int or value < 0:
        raise TypeError(f"{name} is {value!r}, expected an integer of 0 or more")
    return value


def check_domain(chain_id: int, contract: str, domain: SigningDomain) -> None:
    """Refuse an instruction for another federation than the one that was joined.

    A signature for the coordinator's domain could be used to slash us in another federation
    (ADR 63), so the domain is the participant's own.

    Raises
    ------
    InstructionRefusedError
        ``wrong-domain``.
    """
    asked_for = (chain_id, contract.lower())
    expected = (domain.chain_id, domain.verifying_contract.lower())
    if asked_for != expected:
        raise InstructionRefusedError(
            "wrong-domain",
            f"asked for chain {asked_for[0]} contract {asked_for[1]}, this client takes part "
            f"in chain {expected[0]} contract {expected[1]}",
        )


class ModelVerifier:
    """Compares instructions with the chain; caches the last model by the identity of its bytes.

    A process that trains many clients receives the same immutable bytes object for each of them,
    so one check for these bytes, round and kind of message is valid for all.
    """

    def __init__(self, view: CachedChainView, *, threads: int | None = 1) -> None:
        self._view = view
        self._threads = threads
        self._last: Instruction | None = None
        self._model: VerifiedModel | None = None

    def verified(self, instruction: Instruction, *, training: bool) -> VerifiedModel:
        """Return the model, if the chain has it as this round's.

        Raises
        ------
        InstructionRefusedError
            ``wrong-domain``, ``chain-unavailable``, ``round-not-open``, ``wrong-rule``,
            ``wrong-model-root``, ``wrong-deadline``, or the reason why the vector itself is
            malformed.
        """
        check_domain(instruction.chain_id, instruction.contract, self._view.domain)
        model = self._decode(instruction)
        try:
            facts = self._view.round(instruction.round_id)
            if not _knows(facts, model.root, training=training):
                facts = self._view.refreshed(instruction.round_id)
        except ChainUnavailableError as error:
            raise InstructionRefusedError(wire.CHAIN_UNAVAILABLE, str(error)) from error
        self._check_facts(instruction, model.root, facts, training=training)
        return model

    def _check_facts(
        self, instruction: Instruction, root: bytes, facts: ChainRound, *, training: bool
    ) -> None:
        if training and facts.status is not RoundStatus.OPEN:
            raise InstructionRefusedError(
                "round-not-open",
                f"round {instruction.round_id} is {facts.status.word} on chain, expected open",
            )
        if not _knows(facts, root, training=training):
            expected = facts.model_root if training else facts.new_model_root
            raise InstructionRefusedError(
                "wrong-model-root",
                f"round {instruction.round_id}: the model received has root {root.hex()}, the "
                f"chain says {expected.hex()}",
            )
        if instruction.rule_hash != facts.rule_hash or instruction.base_model != root:
            code = "wrong-model-root" if instruction.base_model != root else "wrong-rule"
            raise InstructionRefusedError(
                code,
                f"round {instruction.round_id}: announced model {instruction.base_model.hex()} "
                f"under rule {instruction.rule_hash.hex()}, the chain says {root.hex()} under "
                f"{facts.rule_hash.hex()}",
            )
        if instruction.deadline != facts.deadline:
            raise InstructionRefusedError(
                "wrong-deadline",
                f"round {instruction.round_id}: announced deadline {instruction.deadline}, the "
                f"chain says {facts.deadline}",
            )

    def _decode(self, instruction: Instruction) -> VerifiedModel:
        if self._model is not None and _same_model(instruction, self._last):
            return self._model
        manifest = instruction.manifest
        try:
            data = instruction.model_bytes
            vector = np.array(wire.decode_vector(data, manifest.dimension, wire.MODEL_ARRAY))
            root = parameter_root(vector, manifest, threads=self._threads)
            model = VerifiedModel(root, vector, _float_arrays(vector, instruction))
        except MalformedUpdateError as error:
            raise InstructionRefusedError(error.code, str(error)) from error
        self._last, self._model = instruction, model
        return model


def _same_model(first: Instruction, second: Instruction | None) -> bool:
    """Return whether two instructions have the same bytes object as model."""
    return (
        second is not None
        and first.model_bytes is second.model_bytes
        and first.manifest == second.manifest
        and first.tensor_order == second.tensor_order
        and first.buffers == second.buffers
    )


def _knows(facts: ChainRound, root: bytes, *, training: bool) -> bool:
    """Return whether the chain has this model for the round, to train on or to evaluate."""
    if training:
        return facts.status is RoundStatus.OPEN and facts.model_root == root
    return facts.status is not RoundStatus.NONE and root in (facts.model_root, facts.new_model_root)


def _float_arrays(vector: Int32Vector, instruction: Instruction) -> ArrayRecord:
    arrays = {
        name: Array(str(values.dtype), values.shape, "numpy.ndarray", wire.encode_npy(values))
        for name, values in dequantise(vector, instruction.manifest).items()
    }
    arrays.update(instruction.buffers)
    return ArrayRecord({name: arrays[name] for name in instruction.tensor_order})
