"""Frames on a local stream socket: a small JSON header and raw binary attachments.

::

    "FPF1" | uint32 header size | uint16 n | n * uint64 size | header | attachment 1 | ... | n

all big endian; ADR 141 says why it is not a ready-made format. Every length is compared with a
limit before memory is allocated for it, and an attachment is received without a copy. Not handled:
the meaning of the header, and who may connect (``channel``).
"""

import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from coordinator.local.files import Buffer
from coordinator.protocol.canonical import canonical_json, parse_json
from coordinator.protocol.errors import FedproofError, VerificationError
from coordinator.protocol.types import JsonObject

MAX_ATTACHMENTS: Final = 64
_MAGIC: Final = b"FPF1"
_FIXED: Final = struct.Struct(">4sIH")
_SIZE: Final = struct.Struct(">Q")
_PIECES: Final = 64
"""Buffers in one ``sendmsg``, well below the kernel's IOV_MAX of 1024."""


class ChannelError(FedproofError):
    """The local socket failed, or received something that is not a frame.

    Both sides are processes of one user on one machine, so this only ends the connection and is
    not evidence against a contributor.
    """

    exit_code = 70


class ChannelClosedError(ChannelError):
    """The other side has ended, or does not listen (yet)."""


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """Size limits of one frame; the defaults fit an answer without attachments."""

    max_header_bytes: int = 1 << 20
    max_attachment_bytes: int = 1 << 16


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; ``attachments`` are writable views of memory that nothing else references."""

    header: JsonObject
    attachments: Sequence[memoryview]


def send_frame(sock: socket.socket, header: JsonObject, attachments: Sequence[Buffer] = ()) -> None:
    """Send a frame; attachments are not copied.

    Parameters
    ----------
    header
        Anything ``canonical_json`` takes.
    attachments
        C-contiguous buffers, sent as their bytes, such as ``array.data`` of a NumPy array.

    Raises
    ------
    ChannelClosedError
        If the other side has ended.
    ChannelError
        If there are too many attachments, or the socket's timeout has passed.
    """
    if len(attachments) > MAX_ATTACHMENTS:
        raise ChannelError(f"{len(attachments)} attachments, at most {MAX_ATTACHMENTS}")
    views = [_bytes_of(a) for a in attachments]
    text = canonical_json(header)
    sizes = b"".join(_SIZE.pack(view.nbytes) for view in views)
    head = _FIXED.pack(_MAGIC, len(text), len(views)) + sizes + text
    try:
        _send_all(sock, [memoryview(head), *(view for view in views if view.nbytes)])
    except TimeoutError as late:
        raise ChannelError("the other side did not take a frame in time") from late
    except OSError as gone:
        raise ChannelClosedError(f"cannot send: {gone.strerror or gone}") from gone


def receive_frame(sock: socket.socket, limits: FrameLimits) -> Frame | None:
    """Return the next frame, ``None`` if the other side closed the connection between frames.

    Raises
    ------
    ChannelClosedError
        If the connection ended inside a frame.
    ChannelError
        If it is not a frame, or larger than ``limits``; the connection is unusable afterwards.
    """
    try:
        return _receive(sock, limits)
    except TimeoutError as late:
        raise ChannelError("the other side did not answer in time") from late
    except OSError as gone:
        raise ChannelClosedError(f"cannot receive: {gone.strerror or gone}") from gone


def _bytes_of(buffer: Buffer) -> memoryview:
    view = memoryview(buffer)
    return view.cast("B") if view.nbytes else memoryview(b"")  # an empty view cannot be cast


def _send_all(sock: socket.socket, views: list[memoryview]) -> None:
    while views:
        sent = sock.sendmsg(views[:_PIECES])
        while sent:
            if sent >= views[0].nbytes:
                sent -= views.pop(0).nbytes
            else:
                views[0] = views[0][sent:]
                sent = 0


def _receive(sock: socket.socket, limits: FrameLimits) -> Frame | None:
    fixed = bytearray(_FIXED.size)
    if not _fill(sock, memoryview(fixed), may_end=True):
        return None
    magic, header_bytes, count = _FIXED.unpack(fixed)
    if magic != _MAGIC:
        raise ChannelError(f"frame starts with {magic!r}, expected {_MAGIC!r}")
    if header_bytes > limits.max_header_bytes:
        raise ChannelError(
            f"frame header of {header_bytes} bytes, at most {limits.max_header_bytes}"
        )
    if count > MAX_ATTACHMENTS:
        raise ChannelError(f"frame with {count} attachments, at most {MAX_ATTACHMENTS}")
    sizes = list(_sizes(sock, count))
    if sum(sizes) > limits.max_attachment_bytes:
        raise ChannelError(
            f"frame with {sum(sizes)} bytes attached, at most {limits.max_attachment_bytes}"
        )
    text = bytearray(header_bytes)
    _fill(sock, memoryview(text))
    return Frame(_header(bytes(text)), [_attachment(sock, size) for size in sizes])


def _sizes(sock: socket.socket, count: int) -> Iterator[int]:
    table = bytearray(count * _SIZE.size)
    _fill(sock, memoryview(table))
    return (int(size) for (size,) in _SIZE.iter_unpack(table))


def _header(text: bytes) -> JsonObject:
    try:
        header: Any = parse_json(text, "frame header")
    except VerificationError as error:
        raise ChannelError(str(error)) from error
    if not isinstance(header, dict):
        raise ChannelError(f"frame header is a {type(header).__name__}, expected an object")
    return header


def _attachment(sock: socket.socket, size: int) -> memoryview:
    # np.empty and not bytearray, which would fill the memory with zeros first.
    view: memoryview = np.empty(size, np.uint8).data
    _fill(sock, view)
    return view


def _fill(sock: socket.socket, view: memoryview, *, may_end: bool = False) -> bool:
    """Receive exactly ``view``; false if the connection ended before its first byte."""
    done = 0
    while done < view.nbytes:
        received = sock.recv_into(view[done:])
        if received == 0:
            if may_end and done == 0:
                return False
            raise ChannelClosedError("the connection ended inside a frame")
        done += received
    return True
