"""Keeps instructions as the coordinator signed them: its own, and those that a participant got.

A coordinator looks here before it signs, so that it sends the same again after a crash; a
participant keeps what it was told before it acts on it, and with it the evidence if it was told two
different things (ADR 165). One small file for each phase of a round. Not handled: checking
signatures (``protocol.instructions``).
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from coordinator.local.files import open_lines, read_file
from coordinator.protocol.canonical import canonical_json, parse_json
from coordinator.protocol.errors import StoreError, VerificationError
from coordinator.protocol.instructions import MOST_CONTENT_BYTES, instruction_from, instruction_json
from coordinator.protocol.signatures.eip712 import domain_separator
from coordinator.protocol.types import RoundId, SignedInstruction, Slot

KEPT_ROUNDS: Final = 10_000
"""When a round's instruction is kept, that of so many rounds before goes, unless it is one of two
that differ: some megabytes, and months of rounds."""

MOST_BYTES: Final = 1 << 29
"""Length of all files of a participant together: a coordinator may sign for any number of rounds,
those that never open too. Honest ones of 10,000 rounds need a tenth of it."""
_MOST: Final = 2
_NAME: Final = re.compile(r"(\d{8,20})-(train|evaluate|reveal)-[0-9a-f]{16}\.jsonl")


class MemoryInstructions:
    """Instructions in memory, for simulations, whose coordinator is always told the same."""

    def __init__(self) -> None:
        self._kept: dict[Slot, list[SignedInstruction]] = {}

    def of(self, slot: Slot) -> Sequence[SignedInstruction]:
        """See :class:`~coordinator.ports.InstructionStore`."""
        return tuple(self._kept.get(slot, ()))

    def keep(self, instruction: SignedInstruction) -> Sequence[SignedInstruction]:
        """See :class:`~coordinator.ports.InstructionStore`; the last round's only."""
        slot = instruction.slot
        round_id = slot.round_id
        self._kept = {s: kept for s, kept in self._kept.items() if s.round_id == round_id}
        kept = self._kept.setdefault(slot, [])
        if _is_further(instruction, kept):
            kept.append(instruction)
        return tuple(kept)


class InstructionFolder:
    """Instructions in a folder (mode 0700) that several processes may share.

    Parameters
    ----------
    root
        Made when the first instruction is kept.
    whole
        Whether to keep contents of any length, as a coordinator must that is to send them again;
        else those above :data:`~coordinator.protocol.instructions.MOST_CONTENT_BYTES` are kept by
        their digest.
    """

    def __init__(self, root: Path, *, whole: bool = False) -> None:
        self._root = root
        self._whole = whole
        self._differing: set[tuple[RoundId, str]] | None = None
        self._bytes: int | None = None

    def of(self, slot: Slot) -> Sequence[SignedInstruction]:
        """See :class:`~coordinator.ports.InstructionStore`.

        Raises
        ------
        StoreError
            If the file cannot be read, or is damaged.
        """
        path = self._path(slot)
        return self._read(path) if path.exists() else ()

    def keep(self, instruction: SignedInstruction) -> Sequence[SignedInstruction]:
        """See :class:`~coordinator.ports.InstructionStore`.

        Raises
        ------
        StoreError
            If the file is damaged, or cannot be written durably; or if a participant's folder
            holds :data:`MOST_BYTES`.
        """
        slot = instruction.slot
        path = self._path(slot)
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open_lines(path) as file:
                kept = _instructions(file.lines, path)
                if _is_further(instruction, kept):
                    kept.append(self._shortened(instruction))
                    line = canonical_json(instruction_json(kept[-1])) + b"\n"
                    self._require_room(len(line))
                    file.append(line)
        except OSError as error:
            raise StoreError(
                f"{path}: the instruction cannot be kept: {error.strerror or error}"
            ) from error
        if len(kept) == _MOST and self._differing is not None:
            self._differing.add((slot.round_id, slot.phase))
        self._forget(replace(slot, round_id=RoundId(slot.round_id - KEPT_ROUNDS)))
        return tuple(kept)

    def everything(self) -> Iterator[SignedInstruction]:
        """Yield all that is kept, by round and phase.

        Raises
        ------
        StoreError
            If a file cannot be read, or is damaged.
        """
        for path in self._files():
            yield from self._read(path)

    def differing(self) -> Sequence[tuple[RoundId, str]]:
        """Return round and phase of each pair of instructions that differ, in order.

        The folder is read the first time only. A damaged file counts by its lines.

        Raises
        ------
        StoreError
            If a file cannot be read.
        """
        if self._differing is None:
            self._differing = {
                (RoundId(int(match[1])), match[2])
                for path in self._files()
                if (match := _NAME.fullmatch(path.name)) and read_file(path).count(b"\n") >= _MOST
            }
        return sorted(self._differing)

    def _files(self) -> list[Path]:
        try:
            return sorted(path for path in self._root.iterdir() if _NAME.fullmatch(path.name))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"{self._root}: {error.strerror or error}") from error

    def _read(self, path: Path) -> list[SignedInstruction]:
        content = read_file(path)
        return _instructions(content[: content.rfind(b"\n") + 1], path)

    def _shortened(self, instruction: SignedInstruction) -> SignedInstruction:
        content = instruction.content
        if self._whole or content is None or len(canonical_json(content)) <= MOST_CONTENT_BYTES:
            return instruction
        return replace(instruction, content=None)

    def _require_room(self, length: int) -> None:
        """Count a line's bytes; the folder is read the first time, and when it seems to be full."""
        if self._whole:  # the coordinator's own: it signs them itself
            return
        if self._bytes is None or self._bytes + length > MOST_BYTES:
            self._bytes = sum(path.stat().st_size for path in self._files())
        if self._bytes + length > MOST_BYTES:
            raise StoreError(
                f"{self._root}: holds {self._bytes} bytes of instructions, expected at most "
                f"{MOST_BYTES}: the coordinator signs for rounds that never open; what is there is "
                "evidence of what it signed, to be moved away before taking part again"
            )
        self._bytes += length

    def _forget(self, slot: Slot) -> None:
        """Remove an old file; it is no loss if that fails."""
        try:
            path = self._path(slot)
            if slot.round_id > 0 and path.exists() and len(self._read(path)) < _MOST:
                path.unlink(missing_ok=True)
        except (OSError, StoreError):
            pass

    def _path(self, slot: Slot) -> Path:
        """Return a slot's file; the domain stands for the coordinator, whom its contract fixes."""
        federation = hashlib.sha256(domain_separator(slot.domain)).hexdigest()[:16]
        return self._root / f"{slot.round_id:08d}-{slot.phase}-{federation}.jsonl"


def _is_further(instruction: SignedInstruction, kept: Sequence[SignedInstruction]) -> bool:
    """Return whether an instruction is to be kept beside what is: two are enough."""
    statements = [known.signed.statement for known in kept]
    return instruction.signed.statement not in statements and len(statements) < _MOST


def _instructions(lines: bytes, path: Path) -> list[SignedInstruction]:
    kept = []
    for number, line in enumerate(lines.splitlines(), start=1):
        place = f"{path}: line {number}"
        try:
            kept.append(instruction_from(parse_json(line, place), place))
        except VerificationError as error:
            raise StoreError(f"{error}; the file is damaged") from error
    return kept
