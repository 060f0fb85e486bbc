"""Converts Flower records to protocol types and back, at the coordinator (``docs/flower.md``).

Replies are untrusted: types, names, sizes and shapes are compared with the round's announcement
before anything is decoded, and decoding allocates nothing. A wrong reply is a ``ContributorError``
with a stable code. Not handled: checking what a statement says, its signature, bond and commitment
(the round service).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from coordinator.ports import RoundAnnouncement
from coordinator.protocol import wire
from coordinator.protocol.commitments.digests import metrics_hash
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.errors import ConfigError, MalformedUpdateError
from coordinator.protocol.instructions import buffer_digest, config_of, message_content
from coordinator.protocol.numbers.fixed_point import dequantise, quantise
from coordinator.protocol.numbers.manifest import Manifest, split_buffers
from coordinator.protocol.signatures.eip712 import checksum_address
from coordinator.protocol.types import (
    Address,
    Commitment,
    Int32Vector,
    JsonObject,
    Presence,
    RoundId,
    Signed,
    SignedInstruction,
    UpdateMessage,
)
from coordinator.settings.agreement import AgreedBuffer


def read_statement(content: RecordDict) -> Signed[UpdateMessage]:
    """Return the signed statement of a reply that carries an update.

    Raises
    ------
    MalformedUpdateError
        ``wrong-records`` or ``malformed-statement``.
    """
    fields, place = _fields(content, wire.STATEMENT_RECORD, wire.STATEMENT_FIELDS)
    return _signed_update(fields, place)


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
    fields, place = _fields(content, wire.COMMITMENT, wire.COMMITMENT_FIELDS)
    statement = Commitment(
        _round(fields, place), _hex(fields["commitment"], 32, f"{place}['commitment']")
    )
    signature = _hex(fields["signature"], 65, f"{place}['signature']")
    return Signed(_address(fields["contributor"], f"{place}['contributor']"), statement, signature)


def read_salt(content: RecordDict) -> bytes:
    """Return the salt that opens the commitment of a revealed update, 32 bytes.

    Raises
    ------
    MalformedUpdateError
        ``wrong-records`` or ``malformed-statement``.
    """
    fields, place = _fields(content, wire.REVEAL, wire.REVEAL_FIELDS)
    return _hex(fields["salt"], 32, f"{place}['salt']")


def read_presence(content: RecordDict, node_id: int) -> Signed[Presence]:
    """Return the answer to a presence query; ``protocol.signatures.statements`` checks it.

    Raises
    ------
    MalformedUpdateError
        ``wrong-records`` or ``malformed-statement``.
    """
    fields, place = _fields(content, wire.HELLO, wire.HELLO_FIELDS)
    signature = _hex(fields["signature"], 65, f"{place}['signature']")
    if fields["expiry"] < 0:
        found = str(fields["expiry"])
        raise wire.malformed("malformed-statement", f"{place}['expiry']", found, "0 or more")
    account = _address(fields["account"], f"{place}['account']")
    return Signed(account, Presence(node_id, fields["expiry"]), signature)


def _fields(
    content: RecordDict, name: str, expected: Mapping[str, type]
) -> tuple[dict[str, Any], str]:
    """Return a config record's values, types and version checked, and its name for messages."""
    record, place = content.get(name), f"reply {name!r}"
    if not isinstance(record, ConfigRecord):
        found = "no such config record" if record is None else type(record).__name__
        raise wire.malformed("wrong-records", place, found, "a config record")
    if set(record) != set(expected):
        raise wire.malformed(
            "malformed-statement", place, f"keys {sorted(record)[:10]}", f"keys {sorted(expected)}"
        )
    for key, kind in expected.items():
        if type(record[key]) is not kind:
            raise wire.malformed(
                "malformed-statement",
                f"{place}[{key!r}]",
                type(record[key]).__name__,
                kind.__name__,
            )
    if record["version"] != wire.WIRE_VERSION:
        raise wire.malformed(
            "malformed-statement", place, f"version {record['version']!r}", str(wire.WIRE_VERSION)
        )
    return dict(record), place


def _signed_update(fields: Mapping[str, Any], place: str) -> Signed[UpdateMessage]:
    address = _address(fields["contributor"], f"{place}['contributor']")
    message = UpdateMessage(
        round_id=_round(fields, place),
        base_model=_hex(fields["base-model"], 32, f"{place}['base-model']"),
        update=_hex(fields["update"], 32, f"{place}['update']"),
        examples=fields["examples"],
        metrics_hash=_hex(fields["metrics-hash"], 32, f"{place}['metrics-hash']"),
    )
    signature = _hex(fields["signature"], 65, f"{place}['signature']")
    return Signed(address, message, signature)


def _address(text: str, place: str) -> Address:
    address = checksum_address(_hex(text[2:], 20, place))
    if text != address:
        raise wire.malformed("malformed-statement", place, repr(text), address)
    return address


def _round(fields: Mapping[str, Any], place: str) -> RoundId:
    if not 0 <= fields["round"] < 2**64:
        raise wire.malformed(
            "malformed-statement", f"{place}['round']", str(fields["round"]), "a 64-bit number"
        )
    return RoundId(fields["round"])


def _hex(text: str, size: int, place: str) -> bytes:
    expected = f"{2 * size} hexadecimal digits"
    if len(text) != 2 * size:
        raise wire.malformed("malformed-statement", place, f"{len(text)} characters", expected)
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise wire.malformed("malformed-statement", place, repr(text)[:60], expected) from error


_MAX_RECORDS = 16


@dataclass(frozen=True)
class ModelLayout:
    """The names, order and buffers of a model's tensors, which its committed vector lacks.

    ``order`` lists tensors and buffers as the application gave them; buffers are integer
    tensors, which are not averaged and keep their initial values.
    """

    order: tuple[str, ...]
    buffers: Mapping[str, Array]
    floats: Mapping[str, NDArray[Any]]

    @classmethod
    def of(cls, initial: ArrayRecord) -> "ModelLayout":
        """Read the arrays a ``ServerApp`` starts with.

        Raises
        ------
        ConfigError
            If an array cannot be read, or is neither float nor integer; or none is float: trees
            and other byte strings cannot be averaged (ADR 168).
        """
        named: dict[str, NDArray[Any]] = {}
        for name, array in initial.items():
            try:
                named[name] = wire.decode_npy(
                    array.data, dtype=array.dtype, shape=tuple(array.shape), place=name
                )
            except (MalformedUpdateError, TypeError) as error:
                raise ConfigError(f"initial_arrays: {name!r} cannot be read: {error}") from error
        floats, buffers = split_buffers(named)
        if not floats:
            kinds = ", ".join(sorted({str(array.dtype) for array in named.values()})) or "none"
            raise ConfigError(
                f"initial_arrays: no floating-point array, found {len(named)} arrays ({kinds}); "
                "expected parameters that can be averaged; a model that is a text or byte string, "
                "such as the trees of a gradient-boosted forest, has none"
            )
        return cls(tuple(named), {name: initial[name] for name in buffers}, floats)

    def manifest(
        self,
        *,
        scale_bits: int = 20,
        chunk_values: int = 256,
        scales: Mapping[str, int] = MappingProxyType({}),
    ) -> Manifest:
        """Return the manifest of the float tensors, in order; ``scales`` as of ``Manifest.of``."""
        return Manifest.of(
            self.floats, scale_bits=scale_bits, chunk_values=chunk_values, scales=scales
        )

    def require_manifest(self, agreed: Manifest) -> None:
        """Raise ``ConfigError`` if the tensors are not those the federation agreed on."""
        manifest = self.manifest(
            scale_bits=agreed.scale_bits, chunk_values=agreed.chunk_values, scales=agreed.scales
        )
        if manifest != agreed:
            raise ConfigError(
                f"initial_arrays: {len(manifest.tensors)} tensors with {manifest.dimension} "
                f"parameters, manifest {manifest.digest().hex()[:16]}; the federation agreed on "
                f"{len(agreed.tensors)} with {agreed.dimension}, {agreed.digest().hex()[:16]}"
            )

    def require_model(self, agreed_root: bytes, manifest: Manifest) -> None:
        """Raise ``ConfigError`` if the values are not the model agreed on before training."""
        root = parameter_root(quantise(self.floats, manifest), manifest)
        if root != agreed_root:
            raise ConfigError(
                f"initial_arrays: root {root.hex()}, expected {agreed_root.hex()}, the model the "
                "federation agreed on"
            )


def agreed_layout(manifest: Manifest, buffers: Sequence[AgreedBuffer]) -> ModelLayout:
    """Return the layout of a model as it was agreed on: the manifest's tensors and its buffers."""
    floats = {
        spec.name: np.broadcast_to(np.zeros((), spec.dtype), spec.shape)
        for spec in manifest.tensors
    }
    order = list(floats)
    for buffer in sorted(buffers, key=lambda buffer: buffer.position):
        order.insert(buffer.position, buffer.name)
    return ModelLayout(tuple(order), {b.name: buffer_array(b) for b in buffers}, floats)


def buffer_array(buffer: AgreedBuffer) -> Array:
    """Return an agreed buffer as a Flower array."""
    values = np.array(buffer.values, buffer.dtype).reshape(buffer.shape)
    return Array(buffer.dtype, values.shape, "numpy.ndarray", wire.encode_npy(values))


def vector_array(vector: Int32Vector) -> Array:
    """Return an int32 vector of shape ``(d,)`` as a Flower array."""
    # Integers on the wire: float32 cannot represent every int32, and the receiver computes the
    # root again (ADR 60).
    return Array("int32", vector.shape, "numpy.ndarray", wire.encode_npy(vector))


def model_arrays(vector: Int32Vector, manifest: Manifest, layout: ModelLayout) -> ArrayRecord:
    """Return a committed model, shape ``(d,)``, as the application's named tensors."""
    arrays = dict(layout.buffers)
    for name, values in dequantise(vector, manifest).items():
        arrays[name] = Array(
            str(values.dtype), values.shape, "numpy.ndarray", wire.encode_npy(values)
        )
    return ArrayRecord({name: arrays[name] for name in layout.order})


def instruction_content(
    layout: ModelLayout,
    config: ConfigRecord,
    *,
    sealed: bool,
    arrays_key: str = "arrays",
    config_key: str = "config",
) -> JsonObject:
    """Return the part of a train or evaluate instruction that is not on chain, to be signed.

    The user's ``config`` must not use keys that start with ``fedproof.``.

    Raises
    ------
    ConfigError
        If ``config`` uses such a key.
    """
    if taken := [key for key in config if key.startswith(wire.INSTRUCTION_PREFIX)]:
        raise ConfigError(f"config: keys {taken} start with 'fedproof.', which is reserved")
    return message_content(
        config,
        records=(arrays_key, config_key),
        tensor_order=layout.order,
        buffers={name: array_digest(array) for name, array in layout.buffers.items()},
        sealed=sealed,
    )


def array_digest(array: Array) -> bytes:
    """Return the digest of an array that travels beside the model, 32 bytes."""
    return buffer_digest(array.dtype, array.shape, array.data)


def instruction_records(
    announcement: RoundAnnouncement,
    model: Array,
    layout: ModelLayout,
    instruction: SignedInstruction,
) -> RecordDict:
    """Return a signed train or evaluate instruction as it is sent.

    ``announcement.model_root`` is the root of the vector in ``model``. The config is that of the
    instruction, which in a round that goes on after a crash is the one sent before.

    Raises
    ------
    ConfigError
        If another layout was signed for the round: there is nothing that can be sent then.
    """
    statement, content = instruction.signed.statement, instruction.content
    assert content is not None  # the coordinator keeps it whole
    arrays_key, config_key = content["records"]
    expected = instruction_content(
        layout,
        ConfigRecord(config_of(content)),
        sealed=announcement.sealed,
        arrays_key=arrays_key,
        config_key=config_key,
    )
    if changed := [name for name in expected if expected[name] != content[name]]:
        raise ConfigError(
            f"round {announcement.round_id}: an instruction with another {', '.join(changed)} was "
            "signed before the restart, and a second one would be equivocation: start with the "
            "same model, or wait for the round's deadline"
        )
    fields: dict[str, Any] = {
        wire.VERSION: wire.WIRE_VERSION,
        wire.ROUND: int(announcement.round_id),
        wire.BASE_MODEL: statement.base_model.hex(),
        wire.MANIFEST: announcement.manifest.to_json().decode("ascii"),
        wire.RULE_HASH: statement.rule_hash.hex(),
        wire.CHAIN_ID: announcement.domain.chain_id,
        wire.CONTRACT: announcement.domain.verifying_contract,
        wire.TENSOR_ORDER: list(layout.order),
        wire.DEADLINE: statement.deadline,
        wire.SIGNATURE: instruction.signed.signature.hex(),
    }
    if announcement.sealed:
        fields[wire.SEALED] = 1
    records = RecordDict({arrays_key: ArrayRecord({wire.MODEL_ARRAY: model})})
    if layout.buffers:
        records[wire.BUFFERS_RECORD] = ArrayRecord(dict(layout.buffers))
    records[config_key] = ConfigRecord({**config_of(content), **fields})
    return records


@dataclass(frozen=True)
class Submission:
    """A reply parsed as a signed update; the round service decides whether it is valid."""

    signed: Signed[UpdateMessage]
    vector: Int32Vector
    metrics: JsonObject


def read_submission(content: RecordDict, dimension: int) -> Submission:
    """Read a train reply.

    Parameters
    ----------
    content
        As received; not modified. The returned vector is a read-only view into it.
    dimension
        The announced *d*.

    Raises
    ------
    MalformedUpdateError
        ``wrong-records``, ``wrong-size``, ``wrong-shape``, ``wrong-dtype``, ``malformed-array``,
        ``malformed-statement``, ``bad-metrics``, ``missing-examples``, ``bad-examples``,
        ``wrong-examples`` or ``wrong-metrics``.
    """
    if len(content) > _MAX_RECORDS:
        raise wire.malformed(
            "wrong-records", "reply", f"{len(content)} records", f"at most {_MAX_RECORDS}"
        )
    metrics = read_metrics(content)
    statement = read_statement(content)
    vector = _read_vector(content, dimension)
    message = statement.statement
    if message.examples != metrics[wire.EXAMPLES_METRIC]:
        raise wire.malformed(
            "wrong-examples",
            f"metric {wire.EXAMPLES_METRIC!r}",
            str(metrics[wire.EXAMPLES_METRIC]),
            f"the signed {message.examples}",
        )
    if metrics_hash(metrics) != message.metrics_hash:
        raise wire.malformed("wrong-metrics", "metrics", "another hash", message.metrics_hash.hex())
    return Submission(statement, vector, metrics)


def read_metrics(content: RecordDict) -> JsonObject:
    """Return a reply's metrics as plain values, among them a valid example count.

    Raises
    ------
    MalformedUpdateError
        ``wrong-records``, ``bad-metrics``, ``missing-examples`` or ``bad-examples``.
    """
    records = content.metric_records
    if len(records) != 1:
        raise wire.malformed(
            "wrong-records", "reply", f"metric records {sorted(records)[:4]}", "exactly one"
        )
    (record,) = records.values()
    metrics = wire.plain_metrics(record)
    wire.check_examples(metrics)
    return metrics


def _read_vector(content: RecordDict, dimension: int) -> Int32Vector:
    records = content.array_records
    if set(records) != {wire.ARRAYS_RECORD}:
        raise wire.malformed(
            "wrong-records",
            "reply",
            f"array records {sorted(records)[:4]}",
            f"only {wire.ARRAYS_RECORD!r}",
        )
    record = records[wire.ARRAYS_RECORD]
    if set(record) != {wire.UPDATE_ARRAY}:
        raise wire.malformed(
            "wrong-records",
            f"reply {wire.ARRAYS_RECORD!r}",
            f"arrays {sorted(record)[:4]}",
            f"only {wire.UPDATE_ARRAY!r}",
        )
    array, place = record[wire.UPDATE_ARRAY], f"reply {wire.UPDATE_ARRAY!r}"
    if array.dtype != "int32":
        raise wire.malformed("wrong-dtype", place, str(array.dtype)[:40], "int32")
    if tuple(array.shape) != (dimension,):
        raise wire.malformed("wrong-shape", place, str(array.shape)[:80], f"({dimension},)")
    if array.stype != "numpy.ndarray":
        raise wire.malformed("malformed-array", place, str(array.stype)[:40], "numpy.ndarray")
    return wire.decode_vector(array.data, dimension, place)
