"""Blocks, times, state, calls, logs, snapshots: what the node promises."""

import threading

import pytest
from eth_utils import keccak

from contracts.node.batching import MemoryDB
from contracts.node.evm import chain_class
from contracts.node.genesis import GenesisConfig, write_genesis
from contracts.node.node import EmbeddedNode
from contracts.node.records import ZERO_ADDRESS, CallRequest, LogQuery
from coordinator.protocol.errors import LedgerError

BUMPED = keccak(text="Bumped(address,uint256)")


class TestBlocks:
    def test_a_transfer(self, node, alice, bob):
        before = node.get_balance(bob.address)
        block = node.mine([alice.sign(to=bob.address, value=123)])
        receipt = block.receipts[0]
        assert (block.number, block.refused) == (1, ())
        assert (receipt.status, receipt.gas_used, receipt.failure) == (1, 21_000, "")
        assert node.get_balance(bob.address) == before + 123
        assert node.get_receipt(receipt.transaction_hash) == receipt
        assert node.get_transaction(receipt.transaction_hash).value_wei == 123
        assert node.block_hash(1) == block.hash == node.head.hash

    def test_an_empty_block(self, node):
        block = node.mine()
        assert (block.number, block.receipts) == (1, ())
        assert node.head.parent_hash == node.block_hash(0)

    def test_gas_adds_up_over_a_block(self, node, alice, bob):
        block = node.mine([alice.sign(), bob.sign(), alice.sign()])
        assert [receipt.cumulative_gas_used for receipt in block.receipts] == [
            21_000,
            42_000,
            63_000,
        ]
        assert [receipt.transaction_index for receipt in block.receipts] == [0, 1, 2]
        assert node.head.gas_used == 63_000
        assert node.head.gas_limit == 60_000_000

    def test_tips_go_to_the_coinbase_and_the_base_fee_to_nobody(self, alice, bob):
        genesis = GenesisConfig(alloc={alice.address: 10**18}, coinbase=bob.address)
        node = EmbeddedNode.create_or_open(None, genesis)
        block = node.mine([alice.sign(value=0, maxPriorityFeePerGas=5)])
        price = block.receipts[0].effective_gas_price
        assert price == node.head.base_fee_wei + 5
        assert node.get_balance(bob.address) == 21_000 * 5
        assert node.get_balance(alice.address) == 10**18 - 21_000 * price

    def test_what_is_not_there(self, node):
        assert node.get_block(1) is None
        assert node.get_block(b"\x01" * 32) is None
        assert node.block_hash(7) is None
        assert node.get_receipt(b"\x01" * 32) is None
        assert node.get_transaction(b"\x01" * 32) is None
        with pytest.raises(LedgerError, match="no block 5; the head is 0"):
            node.state(5)

    def test_py_evm_imports_what_we_make(self, node, genesis, alice, counter, encode):
        """The blocks are valid to py-evm's own import, which shares no loop with ours."""
        node.mine([alice.sign(), alice.sign(to=counter, gas=99_999, data=encode("bump", 3))])
        node.mine([alice.sign(to=counter, gas=99_999, data=encode("bump", 30))])
        replica = write_genesis(MemoryDB(), genesis)
        for number in range(1, node.head_number + 1):
            replica.import_block(node._chain.get_canonical_block_by_number(number))
        assert replica.get_canonical_head().hash == node.head.hash

    def test_rebuilt_py_evm_defaults(self):
        assert chain_class(5).chain_id == 5
        assert chain_class(5) is chain_class(5)
        assert chain_class(5) is not chain_class(6)


class TestTimes:
    def test_a_second_after_the_parent(self, node, genesis):
        assert [node.mine().timestamp for _ in range(3)] == [
            genesis.timestamp + n for n in (1, 2, 3)
        ]

    def test_another_block_time(self, genesis):
        node = EmbeddedNode.create_or_open(None, genesis, block_time_s=12)
        assert node.mine().timestamp == genesis.timestamp + 12

    def test_a_given_time(self, node, genesis):
        wanted = genesis.timestamp + 1_000_000
        assert node.mine(timestamp=wanted).timestamp == wanted
        assert node.mine().timestamp == wanted + 1

    @pytest.mark.parametrize("offset", [0, -1])
    def test_not_after_the_parent(self, node, genesis, offset):
        with pytest.raises(LedgerError, match=r"block 1: time .* is not after its parent's"):
            node.mine(timestamp=genesis.timestamp + offset)
        assert node.head_number == 0

    def test_a_clock(self, genesis):
        times = iter([genesis.timestamp + 50, genesis.timestamp + 50, genesis.timestamp + 70])
        node = EmbeddedNode.create_or_open(None, genesis, clock=lambda: next(times))
        assert [node.mine().timestamp - genesis.timestamp for _ in range(3)] == [50, 51, 70]

    def test_travel_without_a_clock_moves_one_block(self, node, genesis):
        node.timer.increase(100)
        assert node.mine().timestamp == genesis.timestamp + 101
        assert node.mine().timestamp == genesis.timestamp + 102

    def test_travel_with_a_clock_lasts(self, genesis):
        node = EmbeddedNode.create_or_open(None, genesis, clock=lambda: genesis.timestamp + 10)
        node.timer.increase(100)
        assert node.mine().timestamp == genesis.timestamp + 110
        assert node.mine().timestamp == genesis.timestamp + 111

    def test_the_next_time_is_used_once(self, node, genesis):
        node.timer.set_next(genesis.timestamp + 9, node.head.timestamp)
        assert node.next_timestamp == genesis.timestamp + 9
        assert node.mine().timestamp == genesis.timestamp + 9
        assert node.mine().timestamp == genesis.timestamp + 10

    def test_time_does_not_go_back(self, node, genesis):
        with pytest.raises(LedgerError, match="cannot go back"):
            node.timer.increase(-1)
        with pytest.raises(LedgerError, match="is not after the head's"):
            node.timer.set_next(genesis.timestamp, node.head.timestamp)


class TestDeterminism:
    def blocks(self, node, alice, counter_code, encode) -> list[bytes]:
        alice.nonce = 0
        made = node.mine([alice.sign(to="", value=0, gas=2_000_000, data=counter_code.bytecode)])
        address = made.receipts[0].contract_address
        hashes = [made.hash]
        for amount in (1, 2, 30):
            raw = alice.sign(to=address, gas=99_999, data=encode("bump", amount))
            hashes.append(node.mine([raw, alice.sign()]).hash)
        return hashes

    def test_the_same_transactions_give_the_same_hashes(
        self, genesis, alice, counter_code, encode, tmp_path
    ):
        expected = self.blocks(
            EmbeddedNode.create_or_open(None, genesis), alice, counter_code, encode
        )
        assert len(set(expected)) == 4
        with EmbeddedNode.create_or_open(tmp_path / "a.sqlite", genesis) as node:
            assert self.blocks(node, alice, counter_code, encode) == expected

    def test_across_reopening_after_every_block(self, genesis, alice, tmp_path):
        raws = [[alice.sign() for _ in range(n)] for n in (1, 0, 3, 2)]
        undisturbed = EmbeddedNode.create_or_open(None, genesis)
        expected = [undisturbed.mine(raw).hash for raw in raws]
        found = []
        for raw in raws:
            with EmbeddedNode.create_or_open(tmp_path / "b.sqlite", genesis) as node:
                found.append(node.mine(raw).hash)
        assert found == expected

    def test_the_genesis_hash_is_fixed(self):
        """A change of this hash is a change of the format: old chains could not be replayed."""
        node = EmbeddedNode.create_or_open(None, GenesisConfig())
        assert node.head.hash.hex() == GENESIS_HASH
        assert node.mine().hash.hex() == FIRST_HASH


GENESIS_HASH = "f44d2e2ccf47c09b8c3ec8c26cbef959af6f7a10cca49f03412b8f1f79d8715f"
FIRST_HASH = "36a95bac23470c3a1d8148ee8c9e6fcc9b1973eb660df148543f127b9d828dc1"


class TestContracts:
    def test_deployment(self, node, counter):
        assert node.head.number == 1
        assert node.state().get_code(bytes.fromhex(counter[2:]))

    def test_events(self, node, alice, counter, encode):
        block = node.mine([alice.sign(to=counter, gas=99_999, data=encode("bump", 4))])
        (log,) = block.receipts[0].logs
        assert log.address == counter
        assert log.topics == (BUMPED, bytes(12) + bytes.fromhex(alice.address[2:]))
        assert int.from_bytes(log.data, "big") == 4

    def test_a_revert_is_mined_with_its_reason(self, node, alice, counter, encode):
        block = node.mine([alice.sign(to=counter, gas=99_999, data=encode("bump", 10), value=0)])
        (receipt,) = block.receipts
        assert receipt.status == 0
        assert receipt.failure == "execution reverted: too big"
        assert receipt.revert_reason == "too big"
        assert receipt.logs == ()
        assert 21_000 < receipt.gas_used < 99_999
        assert node.get_nonce(alice.address) == 2

    def test_running_out_of_gas(self, node, alice, counter, encode):
        block = node.mine([alice.sign(to=counter, gas=22_000, data=encode("bump", 1), value=0)])
        assert block.receipts[0].failure == "out of gas"
        assert block.receipts[0].gas_used == 22_000

    def test_an_unreachable_assertion(self, node, alice, counter, encode):
        block = node.mine([alice.sign(to=counter, gas=50_000, data=encode("burn"), value=0)])
        assert block.receipts[0].failure == "invalid opcode"
        assert block.receipts[0].gas_used == 50_000

    @pytest.mark.parametrize("padding", [0, 4096])
    def test_a_receipt_reports_the_gas_that_was_paid(self, node, alice, counter, encode, padding):
        """Refunds and the calldata floor meet: py-evm's own receipt would report less."""
        fill = encode("fill", 40, b"")
        node.mine([alice.sign(to=counter, value=0, gas=2_000_000, data=fill)])
        before = node.get_balance(alice.address)
        clear = encode("clear", 10, b"\x01" * padding)
        raw = alice.sign(to=counter, value=0, gas=2_000_000, data=clear)
        (receipt,) = node.mine([raw]).receipts
        assert receipt.is_success
        paid = before - node.get_balance(alice.address)
        assert paid == receipt.gas_used * receipt.effective_gas_price

    def test_gas_is_what_anvil_charges(self, node, alice, counter_code, encode):
        """Recorded from anvil (--hardfork prague) for the same transactions."""
        code = {"to": "", "value": 0, "data": counter_code.bytecode}
        (made,) = node.mine([alice.sign(gas=2_000_000, **code)]).receipts
        call = {"to": made.contract_address, "gas": 2_000_000}
        raws = [
            alice.sign(),
            alice.sign(data=encode("bump", 3), value=0, **call),
            alice.sign(data=encode("bump", 30), value=0, **call),
            alice.sign(data=encode("fill", 40, b""), value=0, **call),
            alice.sign(data=encode("clear", 10, b"\x01" * 4096), value=0, **call),
            alice.sign(data=encode("clear", 40, b""), value=0, **call),
            alice.sign(data=encode("pay", "0x" + "77" * 20), value=7, **call),
            alice.sign(data=encode("burn"), value=0, **{**call, "gas": 50_000}),
            alice.sign(data=b"\x01" * 1000, gas=100_000),
        ]
        receipts = [made, *(node.mine([raw]).receipts[0] for raw in raws)]
        assert [(receipt.status, receipt.gas_used) for receipt in receipts] == [
            (1, 210_631),
            (1, 21_000),
            (1, 45_017),
            (0, 21_541),
            (1, 909_283),
            (1, 186_050),
            (1, 157_776),
            (1, 55_915),
            (0, 50_000),
            (1, 61_000),
        ]


class TestCalls:
    def test_anyone_may_call(self, node, counter, encode, stranger):
        result = node.call(CallRequest(counter, encode("bump", 3), sender=stranger.address))
        assert int.from_bytes(result.output, "big") == 3
        again = node.call(CallRequest(counter, encode("bump", 3)))
        assert int.from_bytes(again.output, "big") == 3  # the first left no trace

    def test_a_revert_gives_its_data(self, node, counter, encode):
        result = node.call(CallRequest(counter, encode("bump", 11)))
        assert (result.failure, result.is_revert) == ("execution reverted: too big", True)
        assert result.output[:4].hex() == "08c379a0"

    def test_value_must_be_there(self, node, counter, encode, stranger, alice):
        request = CallRequest(counter, encode("bump", 1), sender=stranger.address, value_wei=1)
        with pytest.raises(LedgerError, match="the call cannot start"):
            node.call(request)
        funded = CallRequest(counter, encode("bump", 1), sender=alice.address, value_wei=1)
        assert node.call(funded).is_success

    def test_too_little_gas(self, node, alice):
        with pytest.raises(LedgerError, match="intrinsic gas too low: have 20999, need 21000"):
            node.call(CallRequest(alice.address, gas=20_999))

    def test_state_at_any_block(self, node, alice, counter, encode):
        for amount in (1, 2, 4):
            node.mine([alice.sign(to=counter, gas=99_999, data=encode("bump", amount), value=0)])
        request = CallRequest(counter, encode("count"))
        assert [
            int.from_bytes(node.call(request, block).output, "big") for block in (1, 2, 3, 4)
        ] == [0, 1, 3, 7]
        assert [node.get_nonce(alice.address, n) for n in range(5)] == [0, 1, 2, 3, 4]
        assert node.call(request, node.block_hash(3)) == node.call(request, 3)
        assert node.call(request, 0).output == b""  # no contract there yet

    def test_the_context_is_the_blocks_own(self, node, counter, encode):
        node.mine()
        head = node.head
        now = CallRequest(counter, encode("now"))
        latest = node.call(now).output
        pending = node.call(now, "pending").output
        assert int.from_bytes(latest[:32], "big") == head.timestamp
        assert int.from_bytes(latest[32:], "big") == head.number
        assert int.from_bytes(pending[:32], "big") == head.timestamp + 1
        assert int.from_bytes(pending[32:], "big") == head.number + 1

    def test_hashes_of_earlier_blocks(self, node, counter, encode):
        node.mine()
        node.mine()
        for number in (0, 1, 2):
            output = node.call(CallRequest(counter, encode("ancestor", number)), "pending").output
            assert output == node.block_hash(number)
        assert not node.call(CallRequest(counter, encode("ancestor", 3)), 3).is_success

    def test_creation(self, node, counter_code):
        result = node.call(CallRequest(None, counter_code.bytecode))
        assert len(result.output) > 100

    def test_estimates_suffice_and_are_close(self, node, alice, counter, encode):
        for call in (encode("bump", 1), encode("fill", 40, b""), encode("clear", 40, b"x" * 999)):
            gas, result = node.estimate_gas(CallRequest(counter, call, sender=alice.address))
            assert result.is_success
            raw = alice.sign(to=counter, value=0, gas=gas, data=call)
            (receipt,) = node.mine([raw]).receipts
            assert receipt.is_success
            assert receipt.gas_used <= gas <= receipt.gas_used * 1.3 + 1

    def test_a_transfers_estimate_is_exact(self, node, alice):
        assert node.estimate_gas(CallRequest(alice.address))[0] == 21_000

    def test_no_estimate_for_what_always_fails(self, node, counter, encode):
        _, result = node.estimate_gas(CallRequest(counter, encode("bump", 10)))
        assert result.failure == "execution reverted: too big"


class TestLogs:
    @pytest.fixture
    def logged(self, node, alice, bob, counter, encode):
        node.mine([alice.sign(to=counter, gas=99_999, data=encode("bump", 1), value=0)])
        node.mine([alice.sign()])
        node.mine(
            [
                bob.sign(to=counter, gas=99_999, data=encode("bump", 2), value=0),
                alice.sign(to=counter, gas=99_999, data=encode("bump", 3), value=0),
            ]
        )
        return node

    def values(self, node, **query) -> list[int]:
        fields = {"from_block": 0, "to_block": node.head_number, **query}
        found = node.get_logs(LogQuery(**fields))
        return [int.from_bytes(item.log.data, "big") for item in found]

    def test_all(self, logged):
        assert self.values(logged) == [1, 2, 3]

    def test_by_range(self, logged):
        assert self.values(logged, from_block=3) == [2, 3]
        assert self.values(logged, to_block=3) == [1]
        assert self.values(logged, from_block=3, to_block=2) == []
        assert self.values(logged, from_block=0, to_block=10**9) == [1, 2, 3]

    def test_by_address(self, logged, counter, alice):
        assert self.values(logged, addresses=(alice.address,)) == []
        assert self.values(logged, addresses=(alice.address, counter)) == [1, 2, 3]

    def test_by_topic(self, logged, bob, alice):
        by_bob = bytes(12) + bytes.fromhex(bob.address[2:])
        by_alice = bytes(12) + bytes.fromhex(alice.address[2:])
        assert self.values(logged, topics=((), (by_bob,))) == [2]
        assert self.values(logged, topics=((BUMPED,), (by_bob, by_alice))) == [1, 2, 3]
        assert self.values(logged, topics=((by_bob,),)) == []
        assert self.values(logged, topics=((BUMPED,), (), ())) == []

    def test_places(self, logged):
        found = list(logged.get_logs(LogQuery(0, 9)))
        assert [(item.receipt.block_number, item.log.index) for item in found] == [
            (2, 0),
            (4, 0),
            (4, 1),
        ]

    def test_blocks_without_a_match_are_not_decoded(self, logged, monkeypatch):
        logged._reader.forget()
        decoded = []
        original = type(logged._reader).view
        monkeypatch.setattr(
            type(logged._reader),
            "view",
            lambda self, block: decoded.append(block) or original(self, block),
        )
        assert self.values(logged, addresses=("0x" + "77" * 20,)) == []
        assert decoded == []
        assert self.values(logged) == [1, 2, 3]
        assert decoded == [2, 4]


class TestSnapshots:
    def test_everything_goes_back(self, node, alice, counter, encode):
        head = node.head
        number = node.snapshot()
        raw = alice.sign(to=counter, gas=99_999, data=encode("bump", 1), value=0)
        first = node.mine([raw])
        node.timer.increase(1000)
        node.revert(number)
        assert node.head == head
        assert node.next_timestamp == head.timestamp + 1
        assert node.get_receipt(first.receipts[0].transaction_hash) is None
        assert node.get_block(first.hash) is None
        assert list(node.get_logs(LogQuery(0, 99))) == []
        assert node.mine([raw]).hash == first.hash

    def test_an_unknown_snapshot(self, node):
        with pytest.raises(LedgerError, match="no snapshot 1 to revert to"):
            node.revert(1)

    def test_a_chain_on_disk_has_none(self, chain_path, genesis):
        with EmbeddedNode.create_or_open(chain_path, genesis) as node:
            with pytest.raises(LedgerError, match="this one is on disk"):
                node.snapshot()
            with pytest.raises(LedgerError, match="this one is on disk"):
                node.revert(1)


class TestReopening:
    def test_a_read_only_node(self, chain_path, genesis, alice):
        with EmbeddedNode.create_or_open(chain_path, genesis) as node:
            made = node.mine([alice.sign()])
        with EmbeddedNode.open_read_only(chain_path) as reread:
            assert reread.head.hash == made.hash
            assert reread.get_balance("0x" + "11" * 20) == 1
            assert reread.view(1).receipts == made.receipts
            with pytest.raises(Exception, match="read-only"):
                reread.mine()

    def test_threads_share_a_node(self, node, alice):
        raws = [alice.sign() for _ in range(20)]
        seen = []

        def read() -> None:
            while node.head_number < 20:
                head = node.head
                seen.append(node.get_nonce(alice.address, head.number) == head.number)

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for raw in raws:
            node.mine([raw])
        for reader in readers:
            reader.join()
        assert all(seen)


def test_the_zero_address_is_nobody(node):
    assert node.get_balance(ZERO_ADDRESS) == 0
