"""A Flower mod that runs clients of Flower's former API (``NumPyClient``, ``client_fn``).

Put it last in the list of mods, next to the app::

    app = ClientApp(client_fn=client_fn, mods=[VerifiableUpdates(), numpy_clients])

Such a client takes and returns a list of arrays without names. They are those of the model, in its
order, so an answer of as many arrays gets their names. What ``fit`` and ``evaluate`` return beside
it becomes the reply's metrics. Not handled: ``get_parameters`` and ``get_properties``, which
nothing here asks for, and metrics that are no numbers, which are left out and logged (ADR 157).
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

# isort: split
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)

from clients.mod.instruction import InstructionRefusedError
from coordinator.protocol import wire

_log = logging.getLogger(__name__)

_NAMES: Final = {
    MessageType.TRAIN: ("fitins", "fitres"),
    MessageType.EVALUATE: ("evaluateins", "evaluateres"),
}
_OK: Final = 0


def numpy_clients(
    message: Message, context: Context, call_next: Callable[[Message, Context], Message]
) -> Message:
    """Give a client of the former API what it expects, and its reply the records of the present.

    Raises
    ------
    InstructionRefusedError
        ``client-failure``: the client says that it failed.
    MalformedUpdateError
        ``wrong-records``: it returned another number of arrays than the model has.
    """
    kind = message.metadata.message_type.split(".")[0]
    if kind not in _NAMES:
        return call_next(message, context)
    asked, answered = _NAMES[kind]
    (arrays,) = message.content.array_records.values()
    (config,) = message.content.config_records.values()
    message.content = RecordDict(
        {f"{asked}.parameters": arrays, f"{asked}.config": ConfigRecord(dict(config))}
    )
    reply = call_next(message, context)
    if reply.has_error():
        return reply
    answer = reply.content
    status = answer.config_records[f"{answered}.status"]
    if (code := status["code"]) != _OK:
        told = repr(status["message"])
        raise InstructionRefusedError(
            "client-failure", f"client_fn: {kind} ended with {code!r}: {told}"
        )
    examples = answer.metric_records[f"{answered}.num_examples"]["num_examples"]
    metrics = _numbers(answer.config_records[f"{answered}.metrics"])
    if kind == MessageType.EVALUATE:
        metrics["loss"] = answer.metric_records[f"{answered}.loss"]["loss"]
    records: dict[str, Any] = {"metrics": MetricRecord({**metrics, wire.EXAMPLES_METRIC: examples})}
    if kind == MessageType.TRAIN:
        trained = answer.array_records[f"{answered}.parameters"]
        records[wire.ARRAYS_RECORD] = _named(trained, arrays)
    reply.content = RecordDict(records)
    return reply


def _named(trained: ArrayRecord, sent: ArrayRecord) -> ArrayRecord:
    """Return the trained arrays under the names, and with the shapes, of those that were sent."""
    returned = [array for array in trained.values() if array.data]
    if len(returned) != len(sent):
        raise wire.malformed(
            "wrong-records", "fit", f"{len(returned)} arrays", f"the model's {len(sent)}"
        )
    return ArrayRecord(
        {
            name: Array(given.dtype, given.shape, "numpy.ndarray", array.data)
            for (name, given), array in zip(sent.items(), returned, strict=True)
        }
    )


def _numbers(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics that are numbers; truth values as 0 and 1."""
    numbers = {k: v for k, v in metrics.items() if isinstance(v, int | float)}
    if left_out := sorted(set(metrics) - set(numbers)):
        _log.warning("metrics that are no numbers are left out: %s", ", ".join(left_out))
    return {k: int(v) if isinstance(v, bool) else v for k, v in numbers.items()}
