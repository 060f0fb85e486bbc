"""Signed replies on disk: what was signed once is sent again byte for byte, never made again.

A reply lies here, synced, before it leaves the machine. A daemon that is killed at any moment and
started again answers the same question with the same bytes.
Only the last few are kept; what was signed for older rounds stays in the journal, which refuses.
"""

import contextlib
import hashlib
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coordinator.local.files import Buffer, discard_leftovers, write_durably
from coordinator.local.paths import private_folder
from coordinator.protocol.canonical import canonical_json, parse_json
from coordinator.protocol.errors import StoreError, VerificationError
from coordinator.protocol.types import JsonObject, RoundId

KEPT: Final = 4
_MAGIC: Final = b"FPR1"
_LENGTH: Final = struct.Struct(">I")
_DIGEST_BYTES: Final = 32
_NAME: Final = re.compile(r"(\d{8})-([0-9a-f]{64})\.reply")


@dataclass(frozen=True)
class StoredReply:
    """One reply as it was, or will be, sent (``clients.daemon.relay.pack_reply``)."""

    header: JsonObject
    attachments: Sequence[Buffer]


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
    ConfigError, StoreError
        If the folder cannot be used.
    """

    def __init__(self, folder: Path, *, kept: int = KEPT) -> None:
        self._folder = folder
        self._kept = kept
        discard_leftovers(private_folder(folder))

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
        write_durably(path, _pieces(reply))
        self._prune()

    def rounds(self) -> list[RoundId]:
        """Return the rounds that are kept, in order."""
        found = [_NAME.fullmatch(path.name) for path in self._folder.iterdir()]
        return sorted({RoundId(int(match[1])) for match in found if match})

    def _prune(self) -> None:
        old = set(self.rounds()[: -self._kept])
        for path in self._folder.iterdir():
            match = _NAME.fullmatch(path.name)
            if match and int(match[1]) in old:
                with contextlib.suppress(OSError):  # room is made another time
                    path.unlink()

    def _path(self, round_id: RoundId, base_model: bytes) -> Path:
        return self._folder / f"{round_id:08d}-{base_model.hex()}.reply"


def _pieces(reply: StoredReply) -> list[Buffer]:
    views = [memoryview(part).cast("B") for part in reply.attachments]
    about = {"header": reply.header, "sizes": [view.nbytes for view in views]}
    text = canonical_json(about)
    pieces: list[Buffer] = [_MAGIC + _LENGTH.pack(len(text)) + text, *views]
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return [*pieces, digest.digest()]


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
    return StoredReply(about["header"], attachments)
