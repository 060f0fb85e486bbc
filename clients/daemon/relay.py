"""Flower messages on the local socket between the relaying ClientApp and the participant's daemon.

A message is sent as a JSON header and binary attachments: first all records but the arrays, in
Flower's own protobuf; then the data of each array record, so that a vector is copied only once.
Imports no torch and no web3: Flower starts a process with this for every message (ADR 90).
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

# isort: split
from flwr.app import Array, ArrayRecord, Context, Error, Message, Metadata, RecordDict

from coordinator.flower.internals import (
    received_message,
    records_from_bytes,
    records_to_bytes,
)
from coordinator.local.files import Buffer
from coordinator.local.frames import ChannelError
from coordinator.protocol.types import JsonObject
from coordinator.protocol.wire import RUN_TOKEN

CALL: Final = "message"
"""The daemon's call that answers one Flower message."""
SOCKET_SETTING: Final = "fedproof-socket"
"""Key of the node configuration with the path of the daemon's socket."""
MAX_METADATA_TEXT: Final = 1_000


def pack_records(content: RecordDict) -> tuple[JsonObject, list[Buffer]]:
    """Return the header and the attachments of a message's content; arrays are not copied."""
    arrays: list[Any] = []
    attachments: list[Buffer] = []
    for name, record in content.array_records.items():
        parts = [(key, array) for key, array in record.items()]
        arrays.append([name, [[k, a.dtype, list(a.shape), a.stype, len(a.data)] for k, a in parts]])
        data = [array.data for _, array in parts]
        attachments.append(data[0] if len(data) == 1 else b"".join(data))
    plain = RecordDict({k: v for k, v in content.items() if not isinstance(v, ArrayRecord)})
    encoded = records_to_bytes(plain, deterministic=True)
    return {"arrays": arrays}, [encoded, *attachments]


def unpack_records(header: JsonObject, attachments: Sequence[Buffer]) -> RecordDict:
    """Return the content that :func:`pack_records` packed.

    Raises
    ------
    ChannelError
        If it is malformed: both sides are this project's own, so one of them has another version.
    """
    try:
        content = records_from_bytes(bytes(attachments[0]))
        for (name, parts), data in zip(header["arrays"], attachments[1:], strict=True):
            content[str(name)] = ArrayRecord(dict(_arrays(parts, data)))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ChannelError(f"malformed records: {type(error).__name__}: {error}") from error
    return content


def _arrays(parts: Sequence[Any], data: Buffer) -> Iterator[tuple[str, Array]]:
    view = memoryview(data)
    if sum(part[4] for part in parts) != view.nbytes:
        raise ValueError(f"{view.nbytes} bytes of arrays, the header says otherwise")
    start = 0
    for name, dtype, shape, stype, size in parts:
        end = start + size
        yield name, Array(dtype, tuple(shape), stype, bytes(view[start:end]))
        start = end


def pack_request(message: Message, context: Context) -> tuple[JsonObject, list[Buffer]]:
    """Return the ClientApp's request to its daemon for one message, without the run's token."""
    metadata = message.metadata
    header, attachments = pack_records(message.content)
    header["metadata"] = {
        "run": str(metadata.run_id),
        "message": metadata.message_id,
        "source": str(metadata.src_node_id),
        "node": str(metadata.dst_node_id),
        "group": metadata.group_id,
        "type": metadata.message_type,
        "created": metadata.created_at,
        "ttl": metadata.ttl,
    }
    run_config = context.run_config.items()
    header["run_config"] = {key: value for key, value in run_config if key != RUN_TOKEN}
    return header, attachments


def unpack_request(header: JsonObject, attachments: Sequence[Buffer]) -> Message:
    """Return the message that :func:`pack_request` packed.

    Raises
    ------
    ChannelError
        If it is malformed.
    """
    try:
        fields = header["metadata"]
        metadata = Metadata(
            run_id=int(fields["run"]),
            message_id=str(fields["message"]),
            src_node_id=int(fields["source"]),
            dst_node_id=int(fields["node"]),
            reply_to_message_id="",
            group_id=str(fields["group"]),
            created_at=float(fields["created"]),
            ttl=float(fields["ttl"]),
            message_type=str(fields["type"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ChannelError(f"malformed message: {type(error).__name__}: {error}") from error
    return received_message(unpack_records(header, attachments), metadata)


def pack_reply(reply: Message) -> tuple[JsonObject, list[Buffer]]:
    """Return the daemon's answer: content, or an error."""
    if reply.has_error():
        return {"error": {"code": reply.error.code, "reason": reply.error.reason or ""}}, []
    return pack_records(reply.content)


def unpack_reply(header: JsonObject, attachments: Sequence[Buffer], message: Message) -> Message:
    """Return the reply to ``message`` that :func:`pack_reply` packed.

    Raises
    ------
    ChannelError
        If it is malformed.
    """
    error = header.get("error")
    if isinstance(error, dict):
        return Message(Error(int(error["code"]), str(error["reason"])), reply_to=message)
    return Message(unpack_records(header, attachments), reply_to=message)
