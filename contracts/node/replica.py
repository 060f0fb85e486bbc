"""Verifies a chain file by executing every block again (ADR 0022).

The file is not trusted: genesis is rebuilt from its parameters, each block's transactions are
executed on it, and the resulting block must have the recorded hash, so that transactions root,
receipts root, state root, gas and times all agree. At the end the rows of the file and those of the
rebuilt chain must be identical.

Not verified: that the operator showed every participant the same chain. For that, participants
remember block hashes.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import rlp
from eth.db.schema import SchemaV1
from eth.vm.forks.prague.blocks import PragueBlockHeader
from eth_utils.crypto import keccak
from trie.exceptions import MissingTrieNode
from trie.hexary import HexaryTrie

from contracts.node.batching import BatchingDB, MemoryDB
from contracts.node.genesis import GenesisConfig, stored_genesis, write_genesis
from contracts.node.kv import ReadOnlyDB, open_read_only
from contracts.node.node import EmbeddedNode
from contracts.node.records import BlockRecord
from contracts.node.timing import BlockTimer
from coordinator.protocol.errors import StoreError, VerificationError

_HASH_IN_KEY: Final = re.compile(r"""b(['"])((?:[^\\]|\\[\\'"nrt]|\\x[0-9a-f]{2})*)\1""")
"""py-evm writes a hash in a key as the ``repr`` of bytes."""
_COMPARED: Final = (
    ("parent hash", "parent_hash", "parent_hash"),
    ("transactions root", "transaction_root", "transactions_root"),
    ("receipts root", "receipt_root", "receipts_root"),
    ("state root", "state_root", "state_root"),
    ("gas used", "gas_used", "gas_used"),
    ("logs bloom", "bloom", "bloom"),
    ("gas limit", "gas_limit", "gas_limit"),
    ("base fee", "base_fee_per_gas", "base_fee_wei"),
    ("coinbase", "coinbase", "coinbase"),
)


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """A verified chain.

    Attributes
    ----------
    node
        An in-memory node on the rebuilt chain: blocks, receipts, logs, state and calls at any
        block, all from data that was verified. ``node.get_logs(LogQuery(0, head_number))`` walks
        all events.
    head_number, head_hash
        The newest block.
    transactions
        Number of transactions that were executed again.
    rows
        Number of rows of the file that were compared.
    """

    node: EmbeddedNode
    head_number: int
    head_hash: bytes
    transactions: int
    rows: int


def replay(db_path: Path | str, genesis: GenesisConfig | None = None) -> ReplayResult:
    """Verify the chain file at ``db_path``; it is not changed.

    Parameters
    ----------
    genesis
        The expected genesis parameters; ``None`` takes those in the file.

    Raises
    ------
    VerificationError
        At the first block, or row, that differs from re-execution; both are named.
    ChainUnavailableError
        If a node has the file open.
    StoreError
        If the file is missing, or is not a chain file.
    """
    path = Path(db_path)
    with open_read_only(path) as db:
        for fault in db.integrity_faults():
            raise VerificationError(f"{path}: SQLite finds the file damaged: {fault}")
        return _Replay(path, db, genesis).run()


class _HashedRows(BatchingDB):
    """The file's rows; a row whose key is a hash must have a value with that hash."""

    def __init__(self, db: ReadOnlyDB) -> None:
        super().__init__()
        self._db = db

    def _read(self, key: bytes) -> bytes | None:
        try:
            value: bytes = self._db[key]
        except KeyError:
            return None
        if len(key) == 32 and keccak(value) != key:
            raise VerificationError(f"row 0x{key.hex()} does not hash to its key")
        return value


class _OriginDB(MemoryDB):
    """Records which block wrote each row first."""

    def __init__(self) -> None:
        super().__init__()
        self.block = 0
        self.origin: dict[bytes, int] = {}

    def _write(self, writes: dict[bytes, bytes | None]) -> None:
        for key in writes:
            self.origin.setdefault(key, self.block)
        super()._write(writes)


class _Replay:
    def __init__(self, path: Path, db: ReadOnlyDB, genesis: GenesisConfig | None) -> None:
        self._path = path
        self._db = db
        self._rows = _HashedRows(db)
        self._rebuilt = _OriginDB()
        self._genesis = self._checked_genesis(genesis)
        chain = write_genesis(self._rebuilt, self._genesis)
        self._node = EmbeddedNode(self._rebuilt, self._genesis, chain, BlockTimer())
        self._transactions = 0

    def _checked_genesis(self, expected: GenesisConfig | None) -> GenesisConfig:
        try:
            stored = stored_genesis(self._db, where=str(self._path))
        except StoreError as damaged:
            raise VerificationError(f"{self._path}: genesis parameters: {damaged}") from damaged
        if stored is None:
            raise VerificationError(f"{self._path}: no genesis parameters in the file")
        if expected is not None and (difference := expected.first_difference(stored)):
            name, expected_value, value = difference
            raise VerificationError(
                f"{self._path}: genesis {name}: found {value!r}, expected {expected_value!r}"
            )
        return stored

    def run(self) -> ReplayResult:
        head = self._recorded_head()
        for number in range(head.block_number + 1):
            self._rebuilt.block = number
            with self._naming(f"block {number}"):
                self._replay_block(number, self._recorded_header(number))
        rows = self._compare_rows()
        return ReplayResult(
            node=self._node,
            head_number=self._node.head_number,
            head_hash=self._node.head.hash,
            transactions=self._transactions,
            rows=rows,
        )

    def _recorded_head(self) -> PragueBlockHeader:
        with self._naming("the head pointer"):
            return self._header(self._row(SchemaV1.make_canonical_head_hash_lookup_key()))

    def _recorded_header(self, number: int) -> PragueBlockHeader:
        key = SchemaV1.make_block_number_to_hash_lookup_key(number)  # type: ignore[arg-type]
        header = self._header(bytes(rlp.decode(self._row(key))))
        if header.block_number != number:
            raise VerificationError(f"its pointer is to block {header.block_number}")
        return header

    def _header(self, block_hash: bytes) -> PragueBlockHeader:
        header = rlp.decode(self._row(block_hash), sedes=PragueBlockHeader)
        assert isinstance(header, PragueBlockHeader)
        return header

    def _row(self, key: bytes) -> bytes:
        try:
            return self._rows[key]
        except KeyError:
            raise VerificationError(f"row {row_name(key)} is missing") from None

    def _replay_block(self, number: int, recorded: PragueBlockHeader) -> None:
        if number > 0:
            raw = list(self._recorded_transactions(recorded))
            self._transactions += len(raw)
            if recorded.timestamp <= self._node.head.timestamp:
                raise VerificationError(
                    f"time {recorded.timestamp} is not after its parent's,"
                    f" {self._node.head.timestamp}"
                )
            made = self._node.mine(raw, timestamp=recorded.timestamp)
            for refused in made.refused:
                raise VerificationError(f"has an invalid transaction: {refused.message}")
        rebuilt = self._node.head
        if rebuilt.hash != recorded.hash:
            raise VerificationError(_difference(recorded, rebuilt))

    def _recorded_transactions(self, header: PragueBlockHeader) -> Iterator[bytes]:
        trie = HexaryTrie(self._rows, root_hash=header.transaction_root)
        index = 0
        while raw := bytes(trie[rlp.encode(index)]):
            yield raw
            index += 1

    def _compare_rows(self) -> int:
        # Every row, in both directions: block hashes do not cover indexes or surplus rows
        # (ADR 0022).
        rebuilt = dict(self._rebuilt.rows())
        count = 0
        for key, value in self._db.rows():
            count += 1
            expected = rebuilt.pop(key, None)
            if expected is None:
                raise VerificationError(
                    f"{self._path}: row {row_name(key)} is not part of the chain"
                )
            if value != expected:
                raise VerificationError(f"{self._place(key)} is not what the block wrote")
        for key in rebuilt:
            raise VerificationError(f"{self._place(key)} is missing")
        return count

    def _place(self, key: bytes) -> str:
        return f"{self._path}: block {self._rebuilt.origin[key]}: row {row_name(key)}"

    @contextmanager
    def _naming(self, place: str) -> Iterator[None]:
        """Prefix the messages of errors inside with the file and the place."""
        try:
            yield
        except VerificationError as fault:
            raise VerificationError(f"{self._path}: {place}: {fault}") from fault
        except MissingTrieNode as missing:
            raise VerificationError(
                f"{self._path}: {place}: transactions: row"
                f" 0x{bytes(missing.missing_node_hash).hex()} is missing"
            ) from missing
        except (rlp.exceptions.RLPException, ValueError, TypeError) as malformed:
            raise VerificationError(
                f"{self._path}: {place}: cannot be decoded: {malformed}"
            ) from malformed


def _difference(recorded: PragueBlockHeader, rebuilt: BlockRecord) -> str:
    for name, theirs, ours in _COMPARED:
        found, expected = getattr(recorded, theirs), getattr(rebuilt, ours)
        if ours == "coinbase":
            expected = bytes.fromhex(expected[2:])
        if found != expected:
            return f"{name}: recorded {_shown(found)}, re-execution gives {_shown(expected)}"
    return f"hash: recorded {_shown(recorded.hash)}, re-execution gives {_shown(rebuilt.hash)}"


def _shown(value: int | bytes) -> str:
    return f"0x{value.hex()}" if isinstance(value, bytes) else str(value)


def row_name(key: bytes) -> str:
    """Return a printable name of a row: its text, or its hash."""
    text = key.decode("ascii", "replace")
    if len(key) == 32 or not text.isprintable():
        return f"0x{key.hex()}"
    prefix, _, rest = text.partition(":")
    match = _HASH_IN_KEY.fullmatch(rest)
    if match is None:
        return text
    escaped = match[2].encode("ascii").decode("unicode_escape")
    return f"{prefix}:0x{escaped.encode('latin-1', 'replace').hex()}"
