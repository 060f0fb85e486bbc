"""Artifact store over HTTP, read-only: a coordinator's ``/blobs``, which is not trusted.

Everything is re-hashed, so any server will do. A vector's size follows from the manifest and no
more is read; documents and opaque bytes have limits. Failed connections and answers of a busy
server are tried again; a missing or wrong blob is an error at once. Not handled: writing, and
keeping a copy (use a ``DiskStore``).
"""

import email.utils
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contracts.binding.http_client import Answer, AnswerTooLongError, HttpClient, UnreachableError
from contracts.json_bounds import check_nesting
from coordinator.protocol.commitments import documents
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.errors import BlobCorruptError, BlobMissingError, ConfigError, StoreError
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.signatures.authorization import sign_read
from coordinator.protocol.types import Int32Vector, JsonObject, SigningDomain
from coordinator.stores import vector_file
from coordinator.stores.disk import DiskStore

MAX_DOCUMENT_BYTES: Final = 64 * 1024 * 1024
"""Enough for about 100,000 contributors."""
MAX_BYTES: Final = 256 * 1024 * 1024
READ_FOR_S: Final = 120
"""Seconds that a signed request is valid."""
_VECTOR: Final = "safetensors"


@dataclass(frozen=True, slots=True)
class Reader:
    """The account that signs requests for updates that only members may read."""

    domain: SigningDomain
    private_key: bytes

    def __repr__(self) -> str:
        """Return a text without the key."""
        return f"Reader({self.domain})"

    def authorization(self, blob: bytes, now: float) -> str:
        """Return the header's value for a blob, valid for two minutes from ``now``."""
        return sign_read(self.domain, self.private_key, blob, int(now) + READ_FOR_S)


class HttpStore:
    """An :class:`~coordinator.ports.ArtifactStore` that reads from a URL.

    Parameters
    ----------
    url
        The coordinator's, for example ``https://host:8700``; blobs are below ``/blobs``.
    ca_file
        PEM certificates of the only authorities to trust.
    reader
        Signs requests; needed for updates of federations whose ``access`` is ``members``.
    max_document_bytes, max_bytes
        Longest document and opaque blob to accept.
    clock
        Unix time in seconds; if a server's clock differs, requests are signed by that clock.

    Raises
    ------
    ConfigError
        If the URL or the file of authorities cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        ca_file: Path | None = None,
        reader: Reader | None = None,
        max_document_bytes: int = MAX_DOCUMENT_BYTES,
        max_bytes: int = MAX_BYTES,
        timeout_s: float = 30.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = HttpClient(url, ca_file=ca_file, timeout_s=timeout_s)
        self._reader = reader
        self._max_document_bytes = max_document_bytes
        self._max_bytes = max_bytes
        self._clock = clock
        self._ahead_s = 0.0  # the server's clock minus ours, set once it refuses our expiry

    @property
    def url(self) -> str:
        """The URL that the store reads from."""
        return self._client.url

    # --- reading -----------------------------------------------------------------------------

    def get_vector(self, root: bytes, manifest: Manifest) -> Int32Vector:
        """Return the vector of this root, re-hashed; shape ``(d,)``, int32, read-only."""
        size = len(vector_file.header(manifest.dimension, manifest.digest()))
        place, data = self._get(root, _VECTOR, size + 4 * manifest.dimension)
        vector = vector_file.decode(data, manifest, place)
        _check(place, parameter_root(vector, manifest), root)
        return vector

    def get_document(self, kind: str, name: bytes) -> JsonObject:
        """Return a document of a kind, checked to be canonical and to hash to its name."""
        place, data = self._get(name, f"{kind}.json", self._max_document_bytes)
        return documents.decode(kind, name, data, place)

    def get_bytes(self, digest: bytes) -> bytes:
        """Return opaque bytes, re-hashed."""
        place, data = self._get(digest, "bin", self._max_bytes)
        _check(place, hashlib.sha256(data).digest(), digest)
        return data

    def get_agreement(self) -> bytes:
        """Return the agreement as served; the caller must check its digest on chain.

        Raises
        ------
        BlobMissingError, StoreError
            If the server has none, or does not answer.
        """
        place = f"{self.url}/federation"
        answer = self._ask("/federation", place, self._max_document_bytes, {})
        if answer.status == 404:
            raise BlobMissingError(f"{place}: this server has no agreement")
        return self._content(answer, place)

    def _get(self, name: bytes, suffix: str, limit_bytes: int) -> tuple[str, bytes]:
        if len(name) != 32:
            raise StoreError(f"blob name {name.hex()!r}: expected 32 bytes, found {len(name)}")
        path = f"/blobs/{name.hex()}.{suffix}"
        place = self.url + path
        answer = self._ask(path, place, limit_bytes, self._headers(name, suffix))
        if answer.status == 401 and self._reader is not None and self._adopt_clock(answer):
            answer = self._ask(path, place, limit_bytes, self._headers(name, suffix))
        if answer.status == 404:
            raise BlobMissingError(f"{place}: blob is missing, or not public yet")
        return place, self._content(answer, place)

    def _headers(self, name: bytes, suffix: str) -> dict[str, str]:
        if self._reader is None or suffix != _VECTOR:
            return {}
        now = self._clock() + self._ahead_s
        return {"Authorization": self._reader.authorization(name, now)}

    def _adopt_clock(self, answer: Answer) -> bool:
        """Use the server's clock from now on; return false if the clocks do not differ."""
        try:
            there = email.utils.parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
        except ValueError:
            return False
        before, self._ahead_s = self._ahead_s, there - self._clock()
        return abs(self._ahead_s - before) > READ_FOR_S / 2

    def _ask(self, path: str, place: str, limit_bytes: int, headers: dict[str, str]) -> Answer:
        try:
            return self._client.get(path, limit_bytes=limit_bytes, headers=headers)
        except UnreachableError as error:
            raise StoreError(str(error)) from error
        except AnswerTooLongError as error:
            raise BlobCorruptError(str(error)) from error

    def _content(self, answer: Answer, place: str) -> bytes:
        if answer.status != 200:
            hint = ""
            if answer.status == 401 and self._reader is None:
                hint = "; it is for members only: give the key file of a bonded account"
            raise StoreError(f"{place}: status {answer.status}: {_reason(answer.data)}{hint}")
        return answer.data

    # --- the rest of the port ----------------------------------------------------------------

    def put_vector(self, vector: Int32Vector, manifest: Manifest, root: bytes) -> None:
        """Refuse: a store over HTTP is for reading."""
        raise self._read_only()

    def put_document(self, kind: str, name: bytes, document: JsonObject) -> None:
        """Refuse: a store over HTTP is for reading."""
        raise self._read_only()

    def put_bytes(self, data: bytes) -> bytes:
        """Refuse: a store over HTTP is for reading."""
        raise self._read_only()

    def sync(self) -> None:
        """Do nothing: there are no writes."""

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _read_only(self) -> StoreError:
        return StoreError(f"artifact store {self.url} is open for reading only")


def open_store(
    where: str | Path, *, ca_file: Path | None = None, reader: Reader | None = None
) -> "HttpStore | DiskStore":
    """Return the store at a URL, or in a folder: a run's, a federation's, or its blobs.

    Raises
    ------
    ConfigError
        If there is no such folder, or the URL cannot be used.
    """
    if str(where).startswith(("http://", "https://")):
        return HttpStore(str(where), ca_file=ca_file, reader=reader)
    folder = Path(where)
    if not folder.is_dir():
        raise ConfigError(f"--store {folder}: no such folder; expected a URL, a run's folder")
    inside = (folder / "blobs", folder / "state" / "blobs")
    blobs = next((place for place in inside if place.is_dir()), folder)
    return DiskStore(blobs, read_only=True)


def _check(place: str, computed: bytes, expected: bytes) -> None:
    if computed != expected:
        raise BlobCorruptError(
            f"{place}: content hashes to {computed.hex()}, expected {expected.hex()}"
        )


def _reason(data: bytes) -> str:
    """Return the reason in a refusal's body, shortened and printable: it is untrusted."""
    try:
        check_nesting(data)
        body = json.loads(data)
        text = str(body["error"]) if isinstance(body, dict) else str(body)
    except (ValueError, KeyError):
        text = data.decode("utf-8", "replace")
    return "".join(c if c.isprintable() else " " for c in text[:300])
