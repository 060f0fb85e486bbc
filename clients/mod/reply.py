"""Reads an app's reply, and makes the records of a signed one (``docs/flower.md``)."""

from typing import Any

# isort: split
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.typing import NDArray

from coordinator.protocol import wire
from coordinator.protocol.errors import MalformedUpdateError
from coordinator.protocol.numbers.manifest import TensorSpec
from coordinator.protocol.types import Int32Vector, JsonObject, Signed, UpdateMessage


def read_metrics(content: RecordDict) -> tuple[str, JsonObject]:
    """Return the name and the plain values of a reply's only metric record.

    Raises
    ------
    MalformedUpdateError
        ``wrong-records``, ``missing-examples`` or ``bad-examples``.
    """
    if len(content.metric_records) != 1:
        names = sorted(content.metric_records)
        raise wire.malformed("wrong-records", "reply", f"metrics {names}", "one metric record")
    ((name, record),) = content.metric_records.items()
    metrics = wire.plain_metrics(record)
    wire.check_examples(metrics)
    return name, metrics


def update_record(update: Int32Vector) -> ArrayRecord:
    """Return the array record of an update of shape ``(d,)``, int32."""
    array = Array("int32", update.shape, "numpy.ndarray", wire.encode_npy(update))
    return ArrayRecord({wire.UPDATE_ARRAY: array})


def statement_record(signed: Signed[UpdateMessage]) -> ConfigRecord:
    """Return the config record of a signed statement."""
    message = signed.statement
    return ConfigRecord(
        {
            "version": wire.WIRE_VERSION,
            "round": int(message.round_id),
            "base-model": message.base_model.hex(),
            "update": message.update.hex(),
            "examples": message.examples,
            "metrics-hash": message.metrics_hash.hex(),
            "contributor": signed.signer,
            "signature": signed.signature.hex(),
        }
    )


def trained_tensor(name: str, array: Array, specs: dict[str, TensorSpec]) -> NDArray[Any]:
    """Return a tensor of an app's reply; raises ``MalformedUpdateError`` unless it is as agreed."""
    if (spec := specs.get(name)) is None:
        raise MalformedUpdateError(
            f"reply: tensor {name!r} is not in the manifest, expected {len(specs)} tensors",
            code="extra-tensor",
            found=name,
            expected=f"{len(specs)} tensors",
        )
    return wire.decode_npy(
        array.data, dtype=spec.dtype, shape=spec.shape, place=f"reply: tensor {name!r}"
    )
