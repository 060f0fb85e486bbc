"""Pending transactions: admission, order, replacement, and when they are mined."""

import time

import pytest

from contracts.node import pool as pool_module
from contracts.node.admission import TransactionRefusedError
from contracts.node.node import EmbeddedNode
from contracts.node.pool import Miner, TransactionPool
from coordinator.protocol.errors import ConfigError, StoreError


@pytest.fixture
def pool(node):
    return TransactionPool(node)


def code_of(pool: TransactionPool, raw: bytes) -> str:
    with pytest.raises(TransactionRefusedError) as caught:
        pool.add(raw)
    return caught.value.code


class TestAdmission:
    def test_a_good_one(self, pool, alice):
        transaction_hash = pool.add(alice.sign())
        assert pool.get(transaction_hash).nonce == 0
        assert pool.get(transaction_hash).block_number is None
        assert pool.next_nonce(alice.address) == 1
        assert pool.has_ready()

    def test_twice(self, pool, alice):
        raw = alice.sign()
        pool.add(raw)
        assert code_of(pool, raw) == "already-known"
        assert len(pool.records()) == 1

    def test_a_mined_nonce(self, pool, node, alice):
        raw = alice.sign()
        node.mine([raw])
        assert code_of(pool, raw) == "nonce-too-low"

    def test_far_ahead(self, pool, alice):
        assert code_of(pool, alice.sign(nonce=1025)) == "nonce-too-high"
        pool.add(alice.sign(nonce=1024))
        assert not pool.has_ready()

    def test_no_money(self, pool, stranger):
        assert code_of(pool, stranger.sign()) == "insufficient-funds"

    def test_fee_below_the_next_block(self, pool, node, alice):
        assert code_of(pool, alice.sign(maxFeePerGas=node.next_base_fee_wei - 1)) == "fee-too-low"

    def test_malformed(self, pool):
        assert code_of(pool, b"\x01\x02") == "malformed"

    def test_full(self, pool, alice, monkeypatch):
        first = alice.sign()
        monkeypatch.setattr(pool_module, "MAX_POOL_BYTES", len(first))
        pool.add(first)
        assert code_of(pool, alice.sign()) == "pool-full"
        pool.mine()
        alice.nonce = 1
        pool.add(alice.sign())


class TestReplacement:
    def test_ten_percent_more_is_needed(self, pool, alice):
        pool.add(alice.sign(maxFeePerGas=10**10, maxPriorityFeePerGas=100))
        for fees in ((10**10 + 10**9, 109), (10**10 + 10**9 - 1, 110)):
            raw = alice.sign(nonce=0, maxFeePerGas=fees[0], maxPriorityFeePerGas=fees[1])
            assert code_of(pool, raw) == "underpriced"
        new = alice.sign(nonce=0, maxFeePerGas=11 * 10**9, maxPriorityFeePerGas=110)
        transaction_hash = pool.add(new)
        assert [record.hash for record in pool.records()] == [transaction_hash]
        assert [r.transaction_hash for r in pool.mine().receipts] == [transaction_hash]


class TestOrder:
    def test_arrival_where_nonces_allow(self, pool, alice, bob):
        late = alice.sign(nonce=1)
        hashes = [pool.add(raw) for raw in (late, bob.sign(), alice.sign(nonce=0), bob.sign())]
        order = [receipt.transaction_hash for receipt in pool.mine().receipts]
        # bob's first came before alice's nonce 0, which frees alice's nonce 1, oldest of all.
        assert order == [hashes[1], hashes[2], hashes[0], hashes[3]]

    def test_a_gap_waits(self, pool, alice):
        pool.add(alice.sign(nonce=1))
        assert pool.mine().receipts == ()
        pool.add(alice.sign(nonce=0))
        assert len(pool.mine().receipts) == 2
        assert pool.records() == []

    def test_a_full_block_leaves_the_rest_for_the_next(self, pool, alice):
        for _ in range(4):
            pool.add(alice.sign(gas=16_000_000, data=b"\x01" * 100_000))
        first = pool.mine()
        assert len(first.receipts) == 4
        for _ in range(15):
            pool.add(alice.sign(gas=16_000_000, data=b"\x01" * 100_000))
        second = pool.mine()
        assert 0 < len(second.receipts) < 15
        assert len(second.receipts) + len(pool.records()) == 15
        assert len(pool.mine().receipts) == 15 - len(second.receipts)

    def test_what_became_invalid_is_dropped(self, pool, node, alice):
        balance = node.get_balance(alice.address)
        fee = 21_000 * 2 * 10**9
        pool.add(alice.sign(value=balance - fee))
        pool.add(alice.sign(value=balance - fee))
        block = pool.mine()
        assert [bad.code for bad in block.refused] == ["insufficient-funds"]
        assert pool.records() == []

    def test_clear(self, pool, alice):
        pool.add(alice.sign())
        pool.clear()
        assert (pool.records(), pool.has_ready(), pool.next_nonce(alice.address)) == ([], False, 0)


def wait_for(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "the miner did nothing for 20 s"
        time.sleep(0.005)


class TestMiner:
    def test_at_once(self, pool, node, alice):
        miner = Miner(pool, "instant")
        for number in (1, 2):
            pool.add(alice.sign())
            miner.transaction_added()
            assert node.head_number == number
        pool.add(alice.sign(nonce=3))
        miner.transaction_added()
        assert node.head_number == 2
        miner.stop()

    def test_by_interval_many_share_a_block(self, pool, node, alice):
        miner = Miner(pool, "interval", interval_s=0.05)
        with node.lock:
            for _ in range(10):
                pool.add(alice.sign())
                miner.transaction_added()
        wait_for(lambda: pool.records() == [])
        assert node.head_number == 1
        assert len(node.head.transaction_hashes) == 10
        miner.stop()
        miner.stop()

    def test_on_demand(self, pool, node, alice):
        miner = Miner(pool, "manual")
        pool.add(alice.sign())
        miner.transaction_added()
        assert node.head_number == 0
        assert len(pool.mine().receipts) == 1

    def test_a_full_disk_is_reported_until_there_is_room(self, chain_path, genesis, alice):
        node = EmbeddedNode.create_or_open(chain_path, genesis)
        pool = TransactionPool(node)
        miner = Miner(pool, "interval", interval_s=0.01)
        with node.lock:
            node._db._connection.execute("PRAGMA max_page_count=2")
            for _ in range(30):
                pool.add(alice.sign())
            miner.transaction_added()

        def has_failed() -> bool:
            try:
                miner.check()
            except StoreError:
                return True
            return False

        wait_for(has_failed)
        with pytest.raises(StoreError, match="no room left"):
            miner.check()
        assert node.head_number == 0
        with node.lock:
            node._db._connection.execute("PRAGMA max_page_count=1000000")
        wait_for(lambda: pool.records() == [])  # once there is room, what was pending is mined
        wait_for(lambda: not has_failed())
        assert node.head_number == 1
        miner.stop()
        node.close()

    def test_settings(self, pool):
        with pytest.raises(ConfigError, match="mining mode 'often'"):
            Miner(pool, "often")
        for interval_s in (0.0, -1.0, float("nan"), 1e9):
            with pytest.raises(ConfigError, match="mining interval"):
                Miner(pool, "interval", interval_s=interval_s)
