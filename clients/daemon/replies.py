"""Keeps signed replies on disk, so that a repeated question gets exactly the same bytes.

A reply is on disk before it is sent, so a daemon that is killed at any time and started again gives
the same answer, whatever the application does (ADR 95).

Only the last few are kept; updates signed for older rounds are in the journal, which refuses to
sign others.
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
    """One reply in the form in which it is sent (``clients.daemon.relay.pack_reply``)."""

    header: JsonObject
    attachments: Sequence[Buffer]


class ReplyStore:
    """The signed replies of one participant, in a folder.

    Parameters
    ----------
    folder
        Made with mode 0700 if it does not exist; unfinished files in it are removed.
    kept
        Number of rounds to keep.

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
        """Return the reply signed for a round on this base model, ``None`` if there is none.

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
            If it cannot be written durably; nothing is left behind then.
        """
        path = self._path(round_id, base_model)
        write_durably(path, _pieces(reply))
        self._prune()

    def rounds(self) -> list[RoundId]:
        """Return the kept rounds, in order."""
        matches = [_NAME.fullmatch(path.name) for path in self._folder.iterdir()]
        return sorted({RoundId(int(match[1])) for match in matches if match})

    def _prune(self) -> None:
        old = set(self.rounds()[: -self._kept])
        for path in self._folder.iterdir():
            match = _NAME.fullmatch(path.name)
            if match and int(match[1]) in old:
                with contextlib.suppress(OSError):  # removed the next time
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
    except VerificationError as error:  # the digest is right, so this is a defect, not damage
        raise StoreError(str(error)) from error
    attachments = []
    for size in about["sizes"]:
        attachments.append(memoryview(body)[end : end + size])
        end += size
    return StoredReply(about["header"], attachments)
