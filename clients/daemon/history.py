"""Remembers the blocks a participant has seen, and refuses a chain that lost one of them.

The chain of a coordinator restored from an old copy, or of one that shows members different
histories, lacks blocks that this participant saw. A block's hash commits to all earlier blocks, so
checking the newest remembered one is enough (ADR 95).

The file has one JSON line per block, appended and synced, and is rewritten only to thin it out. Not
handled: reorganisations deeper than the participant's ``confirmations``.
"""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from coordinator.local.files import open_lines, write_durably
from coordinator.protocol.canonical import canonical_json, parse_json
from coordinator.protocol.errors import StoreError, VerificationError

MAX_BLOCKS: Final = 4_096
"""Above this number the older half is reduced to every second block."""


class Block(NamedTuple):
    """A block's number and its 32-byte hash."""

    number: int
    hash: bytes


HashAt = Callable[[int], bytes | None]
"""Returns the hash of the chain's block of a number, ``None`` if there is none."""


class HistoryLostError(VerificationError):
    """The chain no longer has a block that was on it; ``code`` is sent to the coordinator.

    ``lost`` is the first remembered block that is missing, ``found`` the hash of the block there
    now, ``None`` without one, ``kept`` the newest remembered block that is still there.
    """

    code = "history-lost"

    def __init__(self, lost: Block, found: bytes | None, kept: Block | None) -> None:
        there = f"0x{found.hex()} is there now" if found else "the chain ends before it"
        still = f"block {kept.number} is still there" if kept else "no block seen is still there"
        super().__init__(
            f"block {lost.number} 0x{lost.hash.hex()} was seen and is gone: {there} ({still}); "
            "the chain was replaced by another or an older one, not taking part in it"
        )
        self.lost, self.found, self.kept = lost, found, kept


class BlockHistory:
    """The blocks of one chain that one participant has seen.

    Parameters
    ----------
    path
        The file; made when the first block is remembered.
    confirmations
        Number of later blocks before a block is remembered; 0 on a chain that never reorganises.

    Raises
    ------
    StoreError
        If the file exists and is damaged: without it, a replaced chain would not be noticed.
    """

    def __init__(self, path: Path, *, confirmations: int = 0) -> None:
        self._path = path
        self._confirmations = confirmations
        self._blocks = _read(path)

    @property
    def newest(self) -> Block | None:
        """The newest remembered block."""
        return self._blocks[-1] if self._blocks else None

    def __len__(self) -> int:
        """Return the number of remembered blocks."""
        return len(self._blocks)

    def check(self, head: int, hash_at: HashAt) -> None:
        """Compare the chain with the blocks seen, and remember its newest block.

        Parameters
        ----------
        head
            Number of the chain's latest block.
        hash_at
            Reads a block's hash from the chain.

        Raises
        ------
        HistoryLostError
            If a remembered block is missing; names the first. Nothing new is remembered then.
        StoreError
            If the file cannot be written.
        """
        newest = self.newest
        if newest is not None and hash_at(newest.number) != newest.hash:
            raise self._lost(hash_at)
        number = head - self._confirmations
        if number < 0 or (newest is not None and number <= newest.number):
            return
        block_hash = hash_at(number)
        if block_hash is not None:
            self._remember(Block(number, block_hash))

    def _lost(self, hash_at: HashAt) -> HistoryLostError:
        """Find the first missing block by bisection: all blocks after a missing one are missing."""
        low, high = 0, len(self._blocks) - 1
        while low < high:
            middle = (low + high) // 2
            block = self._blocks[middle]
            if hash_at(block.number) == block.hash:
                low = middle + 1
            else:
                high = middle
        lost = self._blocks[low]
        return HistoryLostError(lost, hash_at(lost.number), self._blocks[low - 1] if low else None)

    def _remember(self, block: Block) -> None:
        try:
            if len(self._blocks) >= MAX_BLOCKS:
                half = len(self._blocks) // 2
                kept = [*self._blocks[:half:2], *self._blocks[half:], block]
                write_durably(self._path, map(_line, kept))
                self._blocks = kept
                return
            with open_lines(self._path) as file:
                file.append(_line(block))
            self._blocks.append(block)
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror or error}") from error


def _line(block: Block) -> bytes:
    return canonical_json({"number": block.number, "hash": block.hash.hex()}) + b"\n"


def _read(path: Path) -> list[Block]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}") from error
    lines = content[: content.rfind(b"\n") + 1].splitlines()  # a crash may have cut the last line
    blocks = [_block(line, f"{path}: line {number}") for number, line in enumerate(lines, 1)]
    for block, next_block in pairwise(blocks):
        if next_block.number <= block.number:
            raise StoreError(f"{path}: block {next_block.number} follows block {block.number}")
    return blocks


def _block(line: bytes, place: str) -> Block:
    try:
        entry = parse_json(line, place)
        block = Block(int(entry["number"]), bytes.fromhex(entry["hash"]))
    except (VerificationError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{place} is damaged, expected a block's number and hash") from error
    if block.number < 0 or len(block.hash) != 32:
        raise StoreError(f"{place} is damaged, expected a block's number and 32-byte hash")
    return block
