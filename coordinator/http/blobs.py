"""``GET /blobs/<64 hex>.<suffix>``: published artifacts, streamed from disk.

A blob's name commits to its content, so it never changes: strong ETag, cached for ever. The answer
for an unpublished blob is the same as for one that does not exist. Readers check hashes; nothing is
hashed here.

The chain decides what is published, not the folder (ADR 110). A model is public once a round was
opened on it or sealed it, a document once its root is on chain, an update once the round that
accepted it is sealed; drafts, refused updates, evidence and notes never are. Rounds that a proven
fraud voided stay readable: their updates were public, and the proof needs them. If only members may
read updates, a request names a bonded account and proves it by a signature.

Not handled: a node that drops blocks it has shown. What was public once may stay so.
"""

import logging
import os
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import BinaryIO, Final, Literal

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from contracts.binding.events import RoundOpened, RoundSealed, RoundSettled, UpdatesCommitted
from contracts.binding.log_reader import EventFollower
from contracts.binding.reader import FederationReader
from contracts.node.http_checks import refusal
from coordinator.ports import ArtifactStore
from coordinator.protocol.commitments.documents import contributor_entries
from coordinator.protocol.errors import (
    ChainUnavailableError,
    LedgerError,
    SignatureError,
    StoreError,
)
from coordinator.protocol.signatures.authorization import parse_read
from coordinator.protocol.signatures.statements import check_read
from coordinator.protocol.types import Address
from coordinator.settings.agreement import FederationAgreement
from coordinator.stores.disk import DiskStore

MAX_AGE_S: Final = 900
"""Seconds from now within which a request must expire; enough for clocks minutes apart."""


class Members:
    """Checks that a request comes from a bonded account; thread-safe.

    Parameters
    ----------
    federation
        The contract, which holds the bonds.
    clock
        Unix time in seconds.
    """

    def __init__(self, federation: FederationReader, clock: Callable[[], float]) -> None:
        self._federation = federation
        self._clock = clock
        self._lock = threading.Lock()
        self._seen_at = -1
        self._bonded: dict[Address, bool] = {}

    def check(self, header: str, blob: bytes) -> Address:
        """Return the bonded account that signed the request.

        Raises
        ------
        SignatureError
            ``not-bonded``, ``expires-too-late``, or any code of ``authorization.parse_read`` and
            ``statements.check_read`` in ``protocol.signatures``.
        ChainUnavailableError
            If the node does not answer.
        """
        signed = parse_read(header, blob)
        now = int(self._clock())
        if signed.statement.expiry > now + MAX_AGE_S:
            raise SignatureError(
                f"expiry {signed.statement.expiry} is more than {MAX_AGE_S} s after {now}, the "
                "time here",
                code="expires-too-late",
            )
        reader = check_read(signed, domain=self._federation.domain, blob=blob, now=now)
        if not self._is_bonded(reader):
            raise SignatureError(f"{reader} has no bond in this federation", code="not-bonded")
        return reader

    def _is_bonded(self, account: Address) -> bool:
        head = self._federation.block().number
        with self._lock:
            if head != self._seen_at:
                self._seen_at, self._bonded = head, {}
            known = self._bonded.get(account)
        if known is None:
            known = self._federation.account(account).bond_wei > 0
            with self._lock:
                self._bonded[account] = known
        return known


Audience = Literal["everybody", "members"]
"""Who may read a published blob: ``members`` only if the agreement says so."""

VECTOR: Final = "safetensors"
BYTES: Final = "bin"
SUFFIXES: Final = frozenset(
    {VECTOR, BYTES} | {f"{kind}.json" for kind in ("contributors", "scores", "rewards", "rule")}
) | {"commitments.json"}
_LOGGER = logging.getLogger(__name__)


class Publication:
    """Follows one federation's events and says who may read a blob; thread-safe.

    Parameters
    ----------
    federation
        The contract.
    store
        Has the contributors documents, which name a round's updates.
    agreement
        Names the blobs that are public before the first round: initial model, rule, manifest,
        scoring.
    """

    def __init__(
        self,
        federation: FederationReader,
        store: ArtifactStore,
        agreement: FederationAgreement,
    ) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._follower = EventFollower(federation.rpc, federation.events)
        self._unread: list[bytes] = []  # contributors roots whose documents are still to be read
        self._updates: set[bytes] = set()
        self._open: set[tuple[bytes, str]] = set(_announced(agreement))
        self._of_updates: Audience = "members" if agreement.access == "members" else "everybody"

    def audience(self, name: bytes, suffix: str) -> Audience | None:
        """Return who may read a blob now, ``None`` if nobody may.

        Raises
        ------
        ChainUnavailableError
            If the chain must be read and the node does not answer.
        """
        audience = self._known(name, suffix)
        if audience is None and suffix in SUFFIXES:
            self._follow()
            audience = self._known(name, suffix)
        return audience

    def _known(self, name: bytes, suffix: str) -> Audience | None:
        if (name, suffix) in self._open:
            return "everybody"
        return self._of_updates if suffix == VECTOR and name in self._updates else None

    def _follow(self) -> None:
        """Read the chain's events since the last call."""
        # From events and not from the service: right after any crash, with nothing to keep in step
        # (ADR 110).
        with self._lock:
            for event in self._follower.new():
                match event:
                    case RoundOpened():
                        self._open.add((event.model_root, VECTOR))
                        self._open.add((event.rule_hash, "rule.json"))
                    case UpdatesCommitted():
                        self._open.add((event.commitments_root, "commitments.json"))
                    case RoundSealed():
                        self._open.add((event.new_model_root, VECTOR))
                        self._open.add((event.contributors_root, "contributors.json"))
                        self._unread.append(event.contributors_root)
                    case RoundSettled():
                        self._open.add((event.scores_root, "scores.json"))
                        self._open.add((event.rewards_root, "rewards.json"))
                    case _:
                        pass
            self._unread = [root for root in self._unread if not self._publish_updates(root)]

    def _publish_updates(self, contributors_root: bytes) -> bool:
        """Publish a sealed round's updates; return false if its document cannot be read now."""
        try:
            document = self._store.get_document("contributors", contributors_root)
        except StoreError as error:
            _LOGGER.warning("updates stay unpublished: %s", error)
            return False
        self._updates.update(entry.leaf.update_root for entry in contributor_entries(document))
        return True


def _announced(agreement: FederationAgreement) -> Iterable[tuple[bytes, str]]:
    rule = agreement.core_rule
    yield bytes.fromhex(agreement.initial_model_root), VECTOR
    yield agreement.rule_hash, "rule.json"
    yield rule.manifest_hash, BYTES
    yield rule.scoring_hash, BYTES
    evaluation = agreement.scoring.get("evaluation")
    if isinstance(evaluation, str):
        yield bytes.fromhex(evaluation), BYTES
    if agreement.evaluation is not None and agreement.evaluation.public_set:
        yield bytes.fromhex(agreement.evaluation.public_set), BYTES


PIECE_BYTES: Final = 256 * 1024
_NAME: Final = re.compile(r"([0-9a-f]{64})\.([a-z.]+)")
_RANGE: Final = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
_FOR_EVER: Final = "public, max-age=31536000, immutable"


class Blobs:
    """The endpoint that serves blobs.

    Parameters
    ----------
    store
        Has the files.
    publication, members
        Say who may read which blob, and check a member's request.
    threads
        Limits how many files are read at once.
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
        """Return whether the blob is for members only; raises if this reader may not read it."""
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
    """Return the whole file, the requested range, or 304 if the client has it already."""
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
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    if match and any(match.groups()) and request.headers.get("if-range") in (None, headers["ETag"]):
        first, last = _span(match[1], match[2], size)
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
