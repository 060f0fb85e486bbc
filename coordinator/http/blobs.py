"""``GET /blobs/<64 hex>.<suffix>``: published artifacts, streamed as they lie on the disk.

A blob's name commits to its content, so it never changes: strong ETag, cached for ever. What is
not published is answered exactly as what does not exist. Readers re-hash; nothing is hashed here.
"""

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import BinaryIO, Final

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from contracts.chain.door import refusal
from coordinator.adapters.store import DiskStore
from coordinator.core.errors import ChainUnavailableError, LedgerError, SignatureError
from coordinator.http.access import Members
from coordinator.http.publication import SUFFIXES, Publication

PIECE_BYTES: Final = 256 * 1024
_NAME: Final = re.compile(r"([0-9a-f]{64})\.([a-z.]+)")
_RANGE: Final = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
_FOR_EVER: Final = "public, max-age=31536000, immutable"


class Blobs:
    """The endpoint.

    Parameters
    ----------
    store
        Whose files are served.
    publication, members
        Who may read what.
    threads
        Bounds how many files are read at once.
    """

    def __init__(
        self,
        store: DiskStore,
        publication: Publication,
        members: Members,
        threads: Callable[[], anyio.CapacityLimiter],
    ) -> None:
        self._store = store
        self._publication = publication
        self._members = members
        self._threads = threads

    async def __call__(self, request: Request) -> Response:
        """Answer ``GET`` or ``HEAD``."""
        named = _NAME.fullmatch(request.path_params["name"])
        if named is None or named[2] not in SUFFIXES:
            return refusal(404, "no such blob; expected 64 hexadecimal digits and a known suffix")
        digest, suffix = bytes.fromhex(named[1]), named[2]
        header = request.headers.get("authorization", "")
        try:
            private = await anyio.to_thread.run_sync(
                self._admit, digest, suffix, header, limiter=self._threads()
            )
            file = await anyio.to_thread.run_sync(
                self._open, digest, suffix, limiter=self._threads()
            )
        except FileNotFoundError:
            return refusal(404, f"no blob {named[0]} is published here")
        except SignatureError as error:
            status = 403 if error.code == "not-bonded" else 401
            return refusal(status, f"{error.code}: {error}", www_authenticate="Fedproof")
        except ChainUnavailableError:
            return refusal(503, "the chain does not answer", retry_after="2")
        except (LedgerError, OSError) as error:
            return refusal(503, f"cannot be read now: {error}", retry_after="5")
        return _answer(request, file, named[0], private=private, read=self._read)

    def _admit(self, digest: bytes, suffix: str, header: str) -> bool:
        """Return whether the blob is for members only; raises if this reader may not have it."""
        audience = self._publication.audience(digest, suffix)
        if audience is None:
            raise FileNotFoundError
        if audience == "members":
            self._members.check(header, digest)
        return audience == "members"

    def _open(self, digest: bytes, suffix: str) -> BinaryIO:
        return open(self._store.path(digest, suffix), "rb")

    async def _read(self, file: BinaryIO, count: int) -> bytes:
        return await anyio.to_thread.run_sync(file.read, count, limiter=self._threads())


Read = Callable[[BinaryIO, int], Awaitable[bytes]]


def _answer(request: Request, file: BinaryIO, name: str, *, private: bool, read: Read) -> Response:
    """Return the whole file, the range asked for, or that it is known already."""
    size = os.fstat(file.fileno()).st_size
    headers = {
        "ETag": f'"{name}"',
        "Cache-Control": _FOR_EVER.replace("public", "private") if private else _FOR_EVER,
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
    }
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        file.close()
        return Response(status_code=304, headers=headers)
    first, last, status = 0, size - 1, 200
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    if asked and any(asked.groups()) and request.headers.get("if-range") in (None, headers["ETag"]):
        first, last = _span(asked[1], asked[2], size)
        if first > last:
            file.close()
            return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
        headers["Content-Range"], status = f"bytes {first}-{last}/{size}", 206
    headers["Content-Length"] = str(last - first + 1)
    kind = "application/json" if name.endswith(".json") else "application/octet-stream"
    if request.method == "HEAD":
        file.close()
        return Response(status_code=status, headers=headers, media_type=kind)
    file.seek(first)
    pieces = _pieces(file, last - first + 1, read)
    return StreamingResponse(pieces, status, headers=headers, media_type=kind)


def _span(first: str, last: str, size: int) -> tuple[int, int]:
    """Return the first and last byte of a range (RFC 9110 §14.1.2); empty if unsatisfiable."""
    if not first:
        return max(size - int(last), 0), size - 1
    return int(first), min(int(last), size - 1) if last else size - 1


async def _pieces(file: BinaryIO, count: int, read: Read) -> AsyncIterator[bytes]:
    with file:
        while count > 0:
            piece = await read(file, min(count, PIECE_BYTES))
            if not piece:
                return
            count -= len(piece)
            yield piece
