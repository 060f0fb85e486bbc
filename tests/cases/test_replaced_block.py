"""A participant on another node's chain, whose newest block is replaced or not yet everywhere."""

import hashlib
from pathlib import Path

import pytest

from clients.daemon.history import BlockHistory, HistoryLostError

SEEN = 100
STILL_FAILS = pytest.mark.xfail(
    strict=True, raises=HistoryLostError, reason="founding asks for no confirmations"
)


def block_hash(number: int, branch: str = "") -> bytes:
    return hashlib.sha256(f"{number}{branch}".encode()).digest()


@pytest.fixture
def history(tmp_path: Path) -> BlockHistory:
    """What a participant remembers with the settings that founding writes."""
    made = BlockHistory(tmp_path / "blocks.jsonl")
    made.check(SEEN, block_hash)
    return made


@STILL_FAILS
def test_a_backend_that_is_one_block_behind_is_no_lost_history(history: BlockHistory) -> None:
    behind = SEEN - 1
    history.check(behind, lambda number: block_hash(number) if number <= behind else None)


@STILL_FAILS
def test_one_replaced_block_is_no_lost_history(history: BlockHistory) -> None:
    history.check(SEEN + 2, lambda number: block_hash(number, "other" if number >= SEEN else ""))
