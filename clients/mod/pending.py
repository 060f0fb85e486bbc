"""Keeps the signed updates of sealed rounds until they are revealed.

In a sealed round a contributor answers a train message with a commitment only. The update is stored
durably before the commitment is sent: after a crash the same question gets the same commitment, and
the update can still be revealed.
"""

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

# isort: split
from flwr.app import ConfigRecord, Context, RecordDict

from clients.mod.journal import journal_key
from coordinator.flower.internals import records_from_bytes, records_to_bytes
from coordinator.local.files import PRIVATE, replace_file
from coordinator.protocol.canonical import canonical_json, parse_json
from coordinator.protocol.errors import StoreError, VerificationError
from coordinator.protocol.types import Address, Commitment, RoundId, Signed, SigningDomain

KEPT: Final = 4
"""Number of rounds of one contributor to keep; older ones can no longer be open."""

_MAGIC: Final = b"FPU1"
_LENGTH: Final = struct.Struct(">I")
_DIGEST_BYTES: Final = 32
_RECORD: Final = "fedproof.pending"


@dataclass(frozen=True)
class PendingUpdate:
    """A contributor's commitment, the reply to reveal, and the salt that opens the commitment.

    ``base_model`` is the root of the model it was trained on; ``salt`` is 32 bytes.
    """

    commitment: Signed[Commitment]
    base_model: bytes
    salt: bytes
    content: RecordDict


class PendingUpdates(Protocol):
    """Keeps the one update that a contributor committed to in each round of each federation."""

    def put(self, domain: SigningDomain, update: PendingUpdate) -> None:
        """Store an update durably; raises ``StoreError`` if that fails."""

    def get(
        self, domain: SigningDomain, round_id: RoundId, contributor: Address
    ) -> PendingUpdate | None:
        """Return the update stored for a round, ``None`` if there is none or it is too old."""


class ContextPending:
    """A store in Flower's ``Context.state``, which lasts as long as the node's process."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def put(self, domain: SigningDomain, update: PendingUpdate) -> None:
        """See :class:`PendingUpdates`; the last round only."""
        about = update.commitment
        key = journal_key(domain, about.statement.round_id, about.signer)
        self._context.state[_RECORD] = ConfigRecord({"key": key, "update": encode(update)})

    def get(
        self, domain: SigningDomain, round_id: RoundId, contributor: Address
    ) -> PendingUpdate | None:
        """See :class:`PendingUpdates`."""
        kept = self._context.state.config_records.get(_RECORD)
        if kept is None or kept["key"] != journal_key(domain, round_id, contributor):
            return None
        data = kept["update"]
        assert isinstance(data, bytes)
        return decode(data, f"Flower's context of node {self._context.node_id}")


class FilePending:
    """A store with one file per update, in a folder (mode 0700) that contributors may share.

    Parameters
    ----------
    folder
        Made if it does not exist.
    durable
        Whether to wait for the disk. Without it a killed process loses nothing, but a power failure
        may.
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self._folder = folder
        self._durable = durable

    def put(self, domain: SigningDomain, update: PendingUpdate) -> None:
        """See :class:`PendingUpdates`."""
        about = update.commitment
        path = self._path(domain, about.statement.round_id, about.signer)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(path, [encode(update)], mode=PRIVATE, sync=self._durable)
        except OSError as error:
            raise StoreError(
                f"{path}: the update cannot be kept, so nothing is committed to: "
                f"{error.strerror or error}"
            ) from error

    def get(
        self, domain: SigningDomain, round_id: RoundId, contributor: Address
    ) -> PendingUpdate | None:
        """See :class:`PendingUpdates`.

        Raises
        ------
        StoreError
            If the file is damaged or cannot be read.
        """
        path = self._path(domain, round_id, contributor)
        try:
            update = decode(path.read_bytes(), str(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror or error}") from error
        about = update.commitment
        same = about.statement.round_id == round_id and about.signer == contributor
        return update if same else None

    def _path(self, domain: SigningDomain, round_id: RoundId, contributor: Address) -> Path:
        """Return one of a contributor's :data:`KEPT` paths, so that old files are overwritten."""
        key = journal_key(domain, RoundId(int(round_id) % KEPT), contributor)
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()}.pending"


def encode(update: PendingUpdate) -> bytes:
    """Return an update's bytes: a header, Flower's own protobuf, and a digest of both."""
    about = update.commitment
    header = canonical_json(
        {
            "round": int(about.statement.round_id),
            "commitment": about.statement.commitment.hex(),
            "contributor": about.signer,
            "signature": about.signature.hex(),
            "base_model": update.base_model.hex(),
            "salt": update.salt.hex(),
        }
    )
    content = records_to_bytes(update.content)
    body = _MAGIC + _LENGTH.pack(len(header)) + header + content
    return body + hashlib.sha256(body).digest()


def decode(data: bytes, place: str) -> PendingUpdate:
    """Return the update that :func:`encode` encoded.

    Raises
    ------
    StoreError
        If a byte was changed or lost; names ``place``.
    """
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest or body[: len(_MAGIC)] != _MAGIC:
        raise StoreError(f"{place}: the kept update is damaged; it cannot be revealed")
    start = len(_MAGIC) + _LENGTH.size
    end = start + _LENGTH.unpack(body[len(_MAGIC) : start])[0]
    try:
        about = parse_json(body[start:end], place)
        content = records_from_bytes(body[end:])
        statement = Commitment(RoundId(about["round"]), bytes.fromhex(about["commitment"]))
        signature = bytes.fromhex(about["signature"])
        return PendingUpdate(
            commitment=Signed(Address(about["contributor"]), statement, signature),
            base_model=bytes.fromhex(about["base_model"]),
            salt=bytes.fromhex(about["salt"]),
            content=content,
        )
    except (VerificationError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{place}: not an update kept by this version: {error}") from error
