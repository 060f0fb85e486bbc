"""Signed replies on disk: what was signed once is sent again byte for byte, never made again.

A reply lies here, synced, before it leaves the machine. A daemon that is killed at any moment and
started again answers the same question with the same bytes: the same update, signature and salt.
Only the last few are kept; what was signed for older rounds stays in the journal, which refuses.
"""

import hashlib
import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coordinator.core.canonical import canonical_json, parse_json
from coordinator.core.errors import StoreError, VerificationError
from coordinator.core.types import JsonObject, RoundId
from coordinator.local.frames import Buffer

KEPT: Final = 4
_MAGIC: Final = b"FPR1"
_LENGTH: Final = struct.Struct(">I")
_DIGEST_BYTES: Final = 32
_NAME: Final = re.compile(r"(\d{8})-([0-9a-f]{64})\.reply")


@dataclass(frozen=True)
class StoredReply:
    """One reply as it was, or will be, sent (``clients.relay.pack_reply``), and its salt.

    ``salt`` opens the commitment of a sealed round, 32 bytes; ``None`` in an open one.
    """

    header: JsonObject
    attachments: Sequence[Buffer]
    salt: bytes | None = None


class ReplyStore:
    """The signed replies of one participant, in one folder of its own.

    Parameters
    ----------
    folder
        Made, mode 0700, where it does not exist; what a killed process left half written goes.
    kept
        How many rounds are kept.

    Raises
    ------
    StoreError
        If the folder cannot be used.
    """

    def __init__(self, folder: Path, *, kept: int = KEPT) -> None:
        self._folder = folder
        self._kept = kept
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for leftover in folder.glob(".tmp-*"):
                leftover.unlink()
        except OSError as error:
            raise StoreError(f"replies {folder}: {error.strerror or error}") from error

    def find(self, round_id: RoundId, base_model: bytes) -> StoredReply | None:
        """Return the reply that was signed for a round on this model, ``None`` if none was.

        Raises
        ------
        StoreError
            If the file is damaged or cannot be read.
        """
        path = self._path(round_id, base_model)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror or error}") from error
        return _decode(data, path)

    def put(self, round_id: RoundId, base_model: bytes, reply: StoredReply) -> None:
        """Write a reply; it may be sent once this returns.

        Raises
        ------
        StoreError
            If it could not be made to last; nothing is left of it then.
        """
        path = self._path(round_id, base_model)
        temporary = path.with_name(f".tmp-{path.name}")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                digest = hashlib.sha256()
                for piece in _pieces(reply):
                    file.write(piece)
                    digest.update(piece)
                file.write(digest.digest())
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
            _sync_folder(self._folder)
            self._prune()
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise StoreError(
                f"{path}: the signed reply cannot be kept, so it is not sent: "
                f"{error.strerror or error}"
            ) from error

    def rounds(self) -> list[RoundId]:
        """Return the rounds that are kept, in order."""
        found = [_NAME.fullmatch(path.name) for path in self._folder.iterdir()]
        return sorted({RoundId(int(match[1])) for match in found if match})

    def _prune(self) -> None:
        old = set(self.rounds()[: -self._kept])
        for path in self._folder.iterdir():
            match = _NAME.fullmatch(path.name)
            if match and int(match[1]) in old:
                path.unlink(missing_ok=True)

    def _path(self, round_id: RoundId, base_model: bytes) -> Path:
        return self._folder / f"{round_id:08d}-{base_model.hex()}.reply"


def _pieces(reply: StoredReply) -> list[Buffer]:
    views = [memoryview(part).cast("B") for part in reply.attachments]
    about = {
        "header": reply.header,
        "sizes": [view.nbytes for view in views],
        "salt": None if reply.salt is None else reply.salt.hex(),
    }
    text = canonical_json(about)
    return [_MAGIC + _LENGTH.pack(len(text)) + text, *views]


def _decode(data: bytes, path: Path) -> StoredReply:
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest or body[:4] != _MAGIC:
        raise StoreError(f"{path}: the stored reply is damaged; its round cannot be answered again")
    start = 4 + _LENGTH.size
    end = start + _LENGTH.unpack(body[4:start])[0]
    try:
        about = parse_json(body[start:end], str(path))
    except VerificationError as error:  # written so by us: a defect, not an accident
        raise StoreError(str(error)) from error
    attachments = []
    for size in about["sizes"]:
        attachments.append(memoryview(body)[end : end + size])
        end += size
    salt = None if about["salt"] is None else bytes.fromhex(about["salt"])
    return StoredReply(about["header"], attachments, salt)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
