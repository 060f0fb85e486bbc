"""Verification by making every block again: any changed byte is found and named."""

import hashlib
import shutil
import sqlite3
from pathlib import Path

import pytest
import rlp
from eth.vm.forks.prague.blocks import PragueBlockHeader
from eth_utils import keccak

from contracts.node.genesis import GENESIS_KEY, GenesisConfig
from contracts.node.node import EmbeddedNode
from contracts.node.records import CallRequest, LogQuery
from contracts.node.replica import replay
from coordinator.protocol.errors import ChainUnavailableError, StoreError, VerificationError

HEAD_KEY = b"v1:canonical_head_hash"


def number_key(number: int) -> bytes:
    return f"block-number-to-hash:{number}".encode()


@pytest.fixture
def recorded(chain_path, genesis, alice, bob, counter_code, encode) -> Path:
    """A closed chain of five blocks: deployment, calls, a revert, transfers, an empty block."""
    with EmbeddedNode.create_or_open(chain_path, genesis) as node:
        code = counter_code.bytecode
        made = node.mine([alice.sign(to="", value=0, gas=2_000_000, data=code)])
        address = made.receipts[0].contract_address
        bump = {"to": address, "gas": 99_999, "value": 0}
        node.mine([alice.sign(data=encode("bump", 3), **bump), bob.sign()])
        node.mine([alice.sign(data=encode("bump", 30), **bump)], timestamp=1_700_001_000)
        node.mine()
        node.mine([bob.sign(to=alice.address, value=5)])
    return chain_path


def rows_of(path: Path) -> dict[bytes, bytes]:
    connection = sqlite3.connect(path)
    rows = dict(connection.execute("SELECT key, value FROM kv"))
    connection.close()
    return rows


def put(path: Path, key: bytes, value: bytes | None) -> None:
    connection = sqlite3.connect(path)
    if value is None:
        connection.execute("DELETE FROM kv WHERE key = ?", (key,))
    else:
        connection.execute("INSERT OR REPLACE INTO kv VALUES (?, ?)", (key, value))
    connection.commit()
    connection.close()


def fault(path: Path, genesis: GenesisConfig | None = None) -> str:
    with pytest.raises(VerificationError) as caught:
        replay(path, genesis)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


class TestSound:
    def test_a_sound_chain(self, recorded, genesis):
        digest = hashlib.sha256(recorded.read_bytes()).digest()
        result = replay(recorded, genesis)
        with EmbeddedNode.open_read_only(recorded) as node:
            assert (result.head_number, result.head_hash) == (5, node.head.hash)
        assert result.transactions == 5
        assert result.rows == len(rows_of(recorded))
        assert hashlib.sha256(recorded.read_bytes()).digest() == digest
        assert [file.name for file in recorded.parent.iterdir()] == [recorded.name]

    def test_the_verified_chain_can_be_asked(self, recorded, alice, encode):
        node = replay(recorded).node
        (log,) = [found.log for found in node.get_logs(LogQuery(0, 5))]
        assert int.from_bytes(log.data, "big") == 3
        count = node.call(CallRequest(log.address, encode("count")))
        assert int.from_bytes(count.output, "big") == 3
        assert node.view(3).receipts[0].failure == "execution reverted: too big"
        assert node.get_nonce(alice.address, 2) == 2

    def test_only_genesis(self, chain_path, genesis):
        EmbeddedNode.create_or_open(chain_path, genesis).close()
        assert replay(chain_path, genesis).head_number == 0

    def test_a_chain_in_use(self, chain_path, genesis):
        with (
            EmbeddedNode.create_or_open(chain_path, genesis),
            pytest.raises(ChainUnavailableError),
        ):
            replay(chain_path)

    def test_no_chain(self, chain_path):
        with pytest.raises(StoreError, match="no chain file there"):
            replay(chain_path)


class TestEveryRow:
    def test_one_changed_byte_in_any_value(self, recorded, tmp_path):
        """Each row in turn: its last byte is flipped, and the fault names a block or the row."""
        rows = rows_of(recorded)
        assert len(rows) > 50
        copy = tmp_path / "copy.sqlite"
        for key, value in rows.items():
            shutil.copyfile(recorded, copy)
            put(copy, key, value[:-1] + bytes([value[-1] ^ 1]) if value else b"\x01")
            message = fault(copy)
            assert message.startswith(("block ", "row ", "the head pointer", "genesis")), message

    def test_any_row_missing(self, recorded, tmp_path):
        copy = tmp_path / "copy.sqlite"
        for key in rows_of(recorded):
            shutil.copyfile(recorded, copy)
            put(copy, key, None)
            message = fault(copy)
            assert message.startswith(("block ", "the head pointer", "no genesis")), message

    @pytest.mark.parametrize("key", [b"note", b"\x07" * 32, b"v1:checkpoint-header-hashes-list"])
    def test_a_row_too_many(self, recorded, key):
        put(recorded, key, b"anything")
        assert "is not part of the chain" in fault(recorded)

    def test_a_row_too_many_under_its_own_hash(self, recorded):
        put(recorded, keccak(b"anything"), b"anything")
        assert fault(recorded) == f"row 0x{keccak(b'anything').hex()} is not part of the chain"


class TestNamed:
    def header(self, path: Path, number: int) -> PragueBlockHeader:
        rows = rows_of(path)
        return rlp.decode(rows[rlp.decode(rows[number_key(number)])], sedes=PragueBlockHeader)

    def replace_header(self, path: Path, number: int, **fields) -> None:
        """Forge a header with consistent hash and pointers: only re-execution can tell."""
        forged = self.header(path, number).copy(**fields)
        put(path, forged.hash, rlp.encode(forged))
        put(path, number_key(number), rlp.encode(forged.hash))

    @pytest.mark.parametrize(
        ("fields", "named"),
        [
            ({"state_root": b"\x01" * 32}, "state root: recorded 0x0101"),
            ({"receipt_root": b"\x01" * 32}, "receipts root: recorded 0x0101"),
            ({"gas_used": 1}, "gas used: recorded 1, re-execution gives 66017"),
            ({"bloom": 1}, "logs bloom: recorded 1"),
            ({"coinbase": b"\x05" * 20}, "coinbase: recorded 0x0505"),
            ({"gas_limit": 60_000_001}, "gas limit: recorded 60000001"),
            ({"base_fee_per_gas": 1}, "base fee: recorded 1"),
            ({"mix_hash": b"\x09" * 32}, "hash: recorded 0x"),
            ({"extra_data": b"x"}, "hash: recorded 0x"),
            ({"parent_hash": b"\x01" * 32}, "parent hash: recorded 0x0101"),
            ({"timestamp": 1_700_000_001}, "time 1700000001 is not after its parent's"),
            ({"timestamp": 1_700_000_009}, "hash: recorded"),
            ({"block_number": 4}, "its pointer is to block 4"),
        ],
    )
    def test_a_forged_header(self, recorded, fields, named):
        self.replace_header(recorded, 2, **fields)
        message = fault(recorded)
        if fields == {"timestamp": 1_700_000_009}:
            assert message.startswith("block 3: parent hash: recorded")
        else:
            assert message.startswith(f"block 2: {named}"), message

    def test_a_header_that_does_not_hash_to_its_key(self, recorded):
        rows = rows_of(recorded)
        block_hash = rlp.decode(rows[number_key(3)])
        put(recorded, block_hash, rows[block_hash][:-1] + b"\x00")
        assert fault(recorded) == f"block 3: row 0x{block_hash.hex()} does not hash to its key"

    def test_a_transaction_left_out(self, recorded):
        root = self.header(recorded, 5).transaction_root
        put(recorded, bytes(root), None)
        message = f"block 5: transactions: row 0x{bytes(root).hex()} is missing"
        assert fault(recorded) == message

    def test_swapped_transactions(self, recorded):
        """Block 5 claims the transactions of block 3."""
        self.replace_header(recorded, 5, transaction_root=self.header(recorded, 3).transaction_root)
        put(recorded, HEAD_KEY, rlp.decode(rows_of(recorded)[number_key(5)]))
        message = fault(recorded)
        assert message.startswith("block 5: has an invalid transaction: transaction 0x")
        assert "nonce too low: found 2, next 3" in message

    def test_a_state_node(self, recorded):
        root = bytes(self.header(recorded, 4).state_root)
        put(recorded, root, b"\x00")
        # The empty block 4 kept the state of block 3, which wrote the row.
        assert fault(recorded) == f"block 3: row 0x{root.hex()} is not what the block wrote"

    def test_a_transaction_lookup(self, recorded):
        (key, value) = next(
            (k, v) for k, v in rows_of(recorded).items() if k.startswith(b"transaction-hash")
        )
        put(recorded, key, b"\xc2\x04" + value[2:])
        message = fault(recorded)
        assert message.startswith("block 5: row transaction-hash-to-block:0x")
        assert message.endswith("is not what the block wrote")

    def test_swapped_blocks(self, recorded):
        rows = rows_of(recorded)
        put(recorded, number_key(2), rows[number_key(3)])
        assert fault(recorded) == "block 2: its pointer is to block 3"

    def test_a_shortened_chain(self, recorded):
        """The head is moved back: the rows of the later blocks give it away."""
        put(recorded, HEAD_KEY, rlp.decode(rows_of(recorded)[number_key(4)]))
        assert "is not part of the chain" in fault(recorded)

    def test_other_parameters(self, recorded, genesis, alice):
        other = GenesisConfig(alloc=genesis.alloc, chain_id=1)
        assert fault(recorded, other) == "genesis chain_id: found 1337, expected 1"
        richer = GenesisConfig(alloc={**genesis.alloc, alice.address: 1})
        expected = f"genesis alloc[{alice.address}]: found {1000 * 10**18}, expected 1"
        assert fault(recorded, richer) == expected

    def test_forged_parameters(self, recorded, genesis, alice):
        """The stored parameters are changed: block 0 is no longer theirs."""
        richer = GenesisConfig(alloc={**genesis.alloc, alice.address: 10**24})
        put(recorded, GENESIS_KEY, richer.to_json().encode())
        assert fault(recorded).startswith("block 0: state root: recorded 0x")

    def test_damaged_pages(self, recorded):
        """A page is overwritten: SQLite's own check, or ours, must object."""
        raw = bytearray(recorded.read_bytes())
        middle = len(raw) // 2 // 4096 * 4096
        raw[middle : middle + 64] = b"\xff" * 64
        recorded.write_bytes(raw)
        with pytest.raises((VerificationError, StoreError), match="damaged"):
            replay(recorded)


@pytest.mark.slow
def test_any_byte_of_the_file_or_nothing_that_counts(recorded, tmp_path):
    """Flip single bytes all over the file: a fault, or the very same rows.

    SQLite has bytes that mean nothing (free space, counters); a run folder's checksums cover
    those. What is read from the file must never differ without a fault.
    """
    raw = recorded.read_bytes()
    rows = rows_of(recorded)
    copy = tmp_path / "copy.sqlite"
    found = unused = 0
    for position in range(17, len(raw), len(raw) // 200):
        changed = bytearray(raw)
        changed[position] ^= 0x55
        copy.write_bytes(changed)
        try:
            replay(copy)
        except (VerificationError, StoreError):
            found += 1
        else:
            assert rows_of(copy) == rows
            unused += 1
    assert found > unused
