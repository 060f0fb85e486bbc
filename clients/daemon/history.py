"""The blocks a participant has seen, and its refusal to go on where one of them is gone.

A coordinator restored from an old copy, or one that shows different members different pasts, has a
chain without blocks that this participant saw. A block's hash commits to all before it, so the
newest one remembered stands for the rest.

The file is append-only between two thinnings: one JSON line a block, synced before it counts. Not
handled: chains that reorganise deeper than the ``confirmations`` the participant set.
"""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from coordinator.local.files import open_lines, write_durably
from coordinator.protocol.canonical import canonical_json, parse_json
from coordinator.protocol.errors import StoreError, VerificationError

MAX_BLOCKS: Final = 4_096
"""Beyond this the older half is thinned to every second block."""


class Block(NamedTuple):
    """A block's number and its 32-byte hash."""

    number: int
    hash: bytes


HashAt = Callable[[int], bytes | None]
"""The hash of the chain's block of a number now, ``None`` if there is none."""


class HistoryLostError(VerificationError):
    """The chain no longer holds a block that was on it; ``code`` is what the coordinator is told.

    ``lost`` is the first such block that is remembered, ``found`` what is there now (``None`` for
    nothing), ``kept`` the newest remembered block that still is where it was.
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
    """What one participant has seen of one chain.

    Parameters
    ----------
    path
        The file; made when the first block is remembered.
    confirmations
        How many blocks must lie above one before it is remembered: 0 where blocks stay.

    Raises
    ------
    StoreError
        If the file is there and damaged: without it, a replaced chain could not be told.
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
        """Return how many blocks are remembered."""
        return len(self._blocks)

    def check(self, head: int, hash_at: HashAt) -> None:
        """Compare the chain with what was seen, and remember how far it goes now.

        Parameters
        ----------
        head
            Number of the chain's latest block.
        hash_at
            Asks the chain.

        Raises
        ------
        HistoryLostError
            Naming the first remembered block that is gone. Nothing new is remembered then.
        StoreError
            If the file cannot be written.
        """
        newest = self.newest
        if newest is not None and hash_at(newest.number) != newest.hash:
            raise self._lost(hash_at)
        number = head - self._confirmations
        if number < 0 or (newest is not None and number <= newest.number):
            return
        found = hash_at(number)
        if found is not None:
            self._remember(Block(number, found))

    def _lost(self, hash_at: HashAt) -> HistoryLostError:
        """Find the first block that is gone, by bisection: what follows a lost block is lost."""
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
    lines = content[: content.rfind(b"\n") + 1].splitlines()  # the last may be cut by a crash
    blocks = [_block(line, f"{path}: line {number}") for number, line in enumerate(lines, 1)]
    for one, next_one in pairwise(blocks):
        if next_one.number <= one.number:
            raise StoreError(f"{path}: block {next_one.number} follows block {one.number}")
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
