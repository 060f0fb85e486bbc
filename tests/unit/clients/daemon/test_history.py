"""What a participant remembers of the chain, and what it makes of a chain that lost some of it."""

import pytest

from clients.daemon import history
from clients.daemon.history import Block, BlockHistory, HistoryLostError
from coordinator.protocol.errors import StoreError


class Chain:
    """Blocks by number; ``fork`` changes the hashes from a number on."""

    def __init__(self, length: int) -> None:
        self.hashes = [bytes([1]) + i.to_bytes(31, "big") for i in range(length)]
        self.asked: list[int] = []

    @property
    def head(self) -> int:
        return len(self.hashes) - 1

    def grow(self, count: int, tag: int = 1) -> None:
        start = len(self.hashes)
        self.hashes += [bytes([tag]) + i.to_bytes(31, "big") for i in range(start, start + count)]

    def at(self, number: int) -> bytes | None:
        self.asked.append(number)
        return self.hashes[number] if number <= self.head else None


def look(seen: BlockHistory, chain: Chain) -> None:
    seen.check(chain.head, chain.at)


def test_a_growing_chain_is_remembered_across_restarts(tmp_path):
    path, chain = tmp_path / "deep" / "blocks.jsonl", Chain(1)
    seen = BlockHistory(path)
    assert (len(seen), seen.newest) == (0, None)
    for _ in range(5):
        look(seen, chain)
        look(seen, chain)
        chain.grow(3)
    assert len(seen) == 5
    assert seen.newest == Block(12, chain.hashes[12])
    again = BlockHistory(path)
    assert (len(again), again.newest) == (5, seen.newest)
    assert path.stat().st_mode & 0o777 == 0o600
    chain.asked.clear()
    look(again, chain)
    assert chain.asked == [12, 15]


def test_a_chain_cut_short_is_refused_by_the_block_that_is_lost(tmp_path):
    chain = Chain(3)
    seen = BlockHistory(tmp_path / "blocks.jsonl")
    for _ in range(5):
        look(seen, chain)
        chain.grow(2)
    del chain.hashes[7:]
    with pytest.raises(HistoryLostError) as caught:
        look(seen, chain)
    assert caught.value.lost.number == 8
    assert caught.value.found is None
    assert caught.value.kept == Block(6, chain.hashes[6])
    assert (caught.value.code, caught.value.exit_code) == ("history-lost", 1)
    assert str(caught.value).startswith(
        f"block 8 0x01{8:062x} was seen and is gone: the chain ends before it (block 6 is still "
    )


def test_another_past_is_refused_even_if_longer_until_the_true_one_is_back(tmp_path):
    chain = Chain(3)
    seen = BlockHistory(tmp_path / "blocks.jsonl")
    for _ in range(9):
        look(seen, chain)
        chain.grow(2)
    true = list(chain.hashes)
    del chain.hashes[5:]
    chain.grow(40, tag=2)
    for _ in range(2):
        with pytest.raises(HistoryLostError) as caught:
            look(seen, chain)
        assert (caught.value.lost, caught.value.found) == (
            Block(6, true[6]),
            chain.hashes[6],
        )
    assert seen.newest == Block(18, true[18])
    chain.hashes = true
    look(BlockHistory(tmp_path / "blocks.jsonl"), chain)


def test_a_chain_of_which_nothing_is_left(tmp_path):
    seen = BlockHistory(tmp_path / "blocks.jsonl")
    look(seen, Chain(3))
    other = Chain(0)
    other.grow(9, tag=7)
    with pytest.raises(HistoryLostError, match="no block seen is still there") as caught:
        look(seen, other)
    assert (caught.value.lost.number, caught.value.kept) == (2, None)


def test_only_confirmed_blocks_are_remembered(tmp_path):
    chain = Chain(3)
    seen = BlockHistory(tmp_path / "blocks.jsonl", confirmations=4)
    look(seen, chain)
    assert len(seen) == 0
    chain.grow(4)
    look(seen, chain)
    assert seen.newest == Block(2, chain.hashes[2])
    del chain.hashes[4:]
    chain.grow(5, tag=2)  # a reorganisation of three blocks
    look(seen, chain)
    assert seen.newest == Block(4, chain.hashes[4])


def test_a_last_line_cut_short_is_forgotten_and_overwritten(tmp_path):
    path, chain = tmp_path / "blocks.jsonl", Chain(3)
    look(BlockHistory(path), chain)
    chain.grow(1)
    look(BlockHistory(path), chain)
    whole = path.read_bytes()
    for cut in range(1, 40):
        path.write_bytes(whole[:-cut])
        seen = BlockHistory(path)
        assert seen.newest == Block(2, chain.hashes[2])
        look(seen, chain)
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "[]",
        "nonsense",
        '{"number":1,"hash":"00"}',
        '{"number":-1,"hash":"' + "00" * 32 + '"}',
        '{"number":1,"hash":7}',
        "[" * 3000,
    ],
)
def test_a_damaged_file_is_an_error_not_a_fresh_start(tmp_path, line):
    path = tmp_path / "blocks.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(StoreError, match=r"blocks\.jsonl: line 1 is damaged"):
        BlockHistory(path)


def test_blocks_out_of_order_are_an_error(tmp_path):
    path, chain = tmp_path / "blocks.jsonl", Chain(3)
    look(BlockHistory(path), chain)
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(StoreError, match="block 2 follows block 2"):
        BlockHistory(path)


def test_a_long_history_is_thinned_and_still_finds_what_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "MAX_BLOCKS", 16)
    path, chain = tmp_path / "blocks.jsonl", Chain(1)
    seen = BlockHistory(path)
    for _ in range(100):
        look(seen, chain)
        chain.grow(1)
    assert len(seen) <= 17
    assert len(BlockHistory(path)) == len(seen)
    assert not list(tmp_path.glob(".tmp-*"))
    newest = seen.newest.number
    del chain.hashes[newest - 1 :]
    with pytest.raises(HistoryLostError) as caught:
        look(seen, chain)
    assert caught.value.lost.number == newest - 1


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    seen = BlockHistory(tmp_path / "blocks.jsonl")
    (tmp_path / "blocks.jsonl").mkdir()
    with pytest.raises(StoreError, match=r"blocks\.jsonl: Is a directory"):
        look(seen, Chain(3))
    assert len(seen) == 0
