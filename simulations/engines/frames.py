"""The messages between the pool's processes, and the encoding of a Flower message in them.

A frame is one byte of kind and a few length-prefixed parts. A Flower message is sent in Flower's
own protobuf, except that the bytes of its arrays stay in a segment file and only
``name offset size`` is serialised. Nothing is pickled in either direction.
"""

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final

from flwr.app import Array, ArrayRecord, Message, RecordDict

from coordinator.flower.internals import make_message, message_from_bytes, message_to_bytes
from coordinator.protocol.errors import StoreError
from simulations.engines.segments import SegmentFolder

TASK: Final = b"T"
REPLY: Final = b"R"
READY: Final = b"H"
FAILED: Final = b"F"
QUERY: Final = b"Q"
ANSWER: Final = b"A"
STOP: Final = b"S"

_SPILL_BYTES = 32 * 1024
"""Longer frames are passed in a segment, so that writing to the pipe never blocks."""
_INLINE_BYTES = 2 * 1024
_INLINE, _REFERENCE = b"\0", b"\1"


@dataclass(frozen=True, slots=True)
class Frame:
    """One message between the pool and a worker."""

    kind: bytes
    parts: tuple[bytes, ...] = ()

    def json(self, index: int = 0) -> Any:
        """Return a part parsed as JSON."""
        return json.loads(self.parts[index])


def json_part(value: object) -> bytes:
    """Return a value as a JSON part."""
    return json.dumps(value).encode()


class FrameChannel:
    """Sends and receives frames over a pipe, long ones in a segment."""

    def __init__(self, connection: Connection, segments: SegmentFolder, name: str) -> None:
        self.connection = connection
        self._segments = segments
        self._name = name
        self._spilled = 0

    def send(self, frame: Frame) -> None:
        """Send one frame; raises ``OSError`` if the other side has ended."""
        body = b"".join(struct.pack("<Q", len(part)) + part for part in frame.parts)
        if len(body) <= _SPILL_BYTES:
            self.connection.send_bytes(frame.kind + _INLINE + body)
            return
        self._spilled += 1
        name = f"{self._name}-f{self._spilled}"
        self._segments.write(name, [body])
        self.connection.send_bytes(frame.kind + _REFERENCE + name.encode())

    def receive(self) -> Frame:
        """Wait for the next frame; raises ``EOFError`` or ``OSError`` if there is none."""
        data = self.connection.recv_bytes()
        kind, where, body = data[:1], data[1:2], data[2:]
        if where == _REFERENCE:
            name = body.decode()
            body = self._segments.read(name)
            self._segments.remove(name)
        return Frame(kind, _split(body))


def _split(body: bytes) -> tuple[bytes, ...]:
    parts, position = [], 0
    while position < len(body):
        (size,) = struct.unpack_from("<Q", body, position)
        position += 8
        parts.append(body[position : position + size])
        position += size
    return tuple(parts)


class PackedContent:
    """A record dict whose array bytes are in one segment, written once and read by many."""

    def __init__(self, content: RecordDict, name: str, segments: SegmentFolder) -> None:
        blobs: list[bytes] = []
        total = sum(len(array.data) for array in _arrays(content))
        if total <= _INLINE_BYTES:
            self.name: str | None = None
            self.shadow = _map_arrays(content, lambda data: _INLINE + data)
            return
        self.name = name
        offset = 0

        def refer(data: bytes) -> bytes:
            nonlocal offset
            reference = _REFERENCE + f"{name} {offset} {len(data)}".encode()
            blobs.append(data)
            offset += len(data)
            return reference

        self.shadow = _map_arrays(content, refer)
        segments.write(name, blobs)


def pack_message(message: Message, shadow: RecordDict | None) -> bytes:
    """Return a message as protobuf, with ``shadow`` instead of its content."""
    if shadow is None:
        return message_to_bytes(message)
    bare = make_message(metadata=message.metadata, content=shadow)
    return message_to_bytes(bare)


def unpack_message(data: bytes, read: Callable[[str, int, int], bytes]) -> Message:
    """Rebuild a message; ``read(name, offset, size)`` fetches the bytes of its arrays.

    Raises
    ------
    StoreError
        If a reference cannot be read.
    """
    message = message_from_bytes(data)
    if not message.has_content():
        return message

    def fetch(reference: bytes) -> bytes:
        if reference[:1] == _INLINE:
            return reference[1:]
        try:
            name, offset, size = reference[1:].decode().split(" ")
            return read(name, int(offset), int(size))
        except ValueError as error:
            raise StoreError(f"segments: unreadable reference {reference!r}") from error

    message.content = _map_arrays(message.content, fetch)
    return message


def _arrays(content: RecordDict) -> Sequence[Array]:
    return [array for record in content.array_records.values() for array in record.values()]


def _map_arrays(content: RecordDict, change: Callable[[bytes], bytes]) -> RecordDict:
    """Return the same records with the bytes of every array changed."""
    result = RecordDict()
    for name, record in content.items():
        if isinstance(record, ArrayRecord):
            changed = ArrayRecord()
            for key, array in record.items():
                changed[key] = Array(
                    array.dtype, tuple(array.shape), array.stype, change(array.data)
                )
            result[name] = changed
        else:
            result[name] = record
    return result
