"""Records a contributor's signed updates, so that it never signs two different ones in a round.

Signing two different updates for one round costs the bond, even if the client was restarted in
between. So an update is recorded durably *before* it is signed (ADR 63). Not handled: two machines
with the same key and two journals.
"""

import json
from pathlib import Path
from typing import Protocol

from coordinator.local.files import open_lines
from coordinator.protocol.canonical import parse_json
from coordinator.protocol.errors import ContributorError, StoreError, VerificationError
from coordinator.protocol.types import Address, RoundId, SigningDomain


class SignatureJournal(Protocol):
    """Records the one update that a contributor signed in each round of each federation."""

    def record(
        self, domain: SigningDomain, round_id: RoundId, contributor: Address, update_root: bytes
    ) -> None:
        """Record an update; returns once it is safe to sign it. An equal repeat is safe.

        Raises
        ------
        ContributorError
            ``already-signed``, if another update is recorded for the round.
        StoreError
            If the record cannot be written durably.
        """


def journal_key(domain: SigningDomain, round_id: RoundId, contributor: Address) -> str:
    """Return the key of a contributor's one update in a round of a federation."""
    return f"{domain.chain_id}/{domain.verifying_contract}/{round_id}/{contributor}".lower()


class MemoryJournal:
    """A journal in memory, for simulations, which are replayed from the start."""

    def __init__(self) -> None:
        self._signed: dict[str, str] = {}

    def record(
        self, domain: SigningDomain, round_id: RoundId, contributor: Address, update_root: bytes
    ) -> None:
        """See :class:`SignatureJournal`."""
        key = journal_key(domain, round_id, contributor)
        check_unsigned(self._signed.get(key), update_root, round_id, contributor)
        self._signed[key] = update_root.hex()


class FileJournal:
    """One JSON line per signed update, appended and synced before the signature is made.

    Several processes may share the file (Flower starts one per message): each record is written
    under a lock. A last line that a crash cut short was not signed yet, and is removed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def record(
        self, domain: SigningDomain, round_id: RoundId, contributor: Address, update_root: bytes
    ) -> None:
        """See :class:`SignatureJournal`."""
        key = journal_key(domain, round_id, contributor)
        try:
            with open_lines(self._path) as file:
                known = _entries(file.lines, self._path).get(key)
                check_unsigned(known, update_root, round_id, contributor)
                if known is None:
                    line = json.dumps({"key": key, "update": update_root.hex()}) + "\n"
                    file.append(line.encode())
        except OSError as error:
            raise StoreError(f"journal {self._path}: {error.strerror or error}") from error

    def count(self, domain: SigningDomain, contributor: Address) -> int:
        """Return the number of rounds of a federation in which a contributor signed an update.

        Raises
        ------
        StoreError
            If the file is damaged or cannot be read.
        """
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise StoreError(f"journal {self._path}: {error.strerror or error}") from error
        first, last = journal_key(domain, RoundId(0), contributor).split("/0/")
        keys = _entries(content[: content.rfind(b"\n") + 1], self._path)
        return sum(key.startswith(f"{first}/") and key.endswith(f"/{last}") for key in keys)


def check_unsigned(
    known: str | None, update_root: bytes, round_id: RoundId, contributor: Address
) -> None:
    """Raise ``ContributorError`` if another update than ``update_root`` is recorded."""
    if known is not None and known != update_root.hex():
        raise ContributorError(
            f"round {round_id}: {contributor} has already signed update {known}, "
            f"asked to sign {update_root.hex()}",
            code="already-signed",
            contributor=contributor,
            round_id=round_id,
            found=update_root.hex(),
            expected=known,
        )


def _entries(lines: bytes, path: Path) -> dict[str, str]:
    """Return update roots by key; if a key is repeated, the first line counts."""
    entries: dict[str, str] = {}
    for number, line in enumerate(lines.splitlines(), start=1):
        try:
            entry = parse_json(line, str(path))
            entries.setdefault(entry["key"] + "", entry["update"] + "")
        except (VerificationError, KeyError, TypeError) as error:
            raise StoreError(
                f"journal {path}: line {number} is damaged, expected a JSON object with 'key' and "
                "'update'; signing without it could cost the bond"
            ) from error
    return entries
