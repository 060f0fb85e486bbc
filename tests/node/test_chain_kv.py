"""The store: atomic batches, one commit per block, one user at a time, honest errors."""

import contextlib
import hashlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.node.batching import MemoryDB
from contracts.node.genesis import GenesisConfig
from contracts.node.kv import SqliteDB, open_read_only
from contracts.node.node import EmbeddedNode
from coordinator.protocol.errors import ChainUnavailableError, StoreError


def folder_state(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        file.name: (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns)
        for file in folder.iterdir()
    }


class OnPurpose(Exception):
    pass


def failing():
    return contextlib.suppress(OnPurpose)


@pytest.fixture(params=["memory", "sqlite"])
def db(request, tmp_path):
    store = MemoryDB() if request.param == "memory" else SqliteDB(tmp_path / "kv.sqlite")
    yield store
    store.checkpoint_and_close()


class TestBatches:
    def test_writes_are_seen_inside_and_kept_after(self, db):
        with db.atomic_batch() as batch:
            batch[b"a"] = b"1"
            assert batch[b"a"] == b"1"
            assert db[b"a"] == b"1"
        assert db[b"a"] == b"1"
        assert list(db.rows()) == [(b"a", b"1")]

    def test_nothing_is_kept_when_the_batch_raises(self, db):
        db[b"a"] = b"1"
        with failing(), db.atomic_batch() as batch:
            batch[b"a"] = b"2"
            del batch[b"a"]
            batch[b"b"] = b"3"
            raise OnPurpose
        assert list(db.rows()) == [(b"a", b"1")]

    def test_an_inner_batch_is_dropped_with_the_outer(self, db):
        with failing(), db.atomic_batch():
            with db.atomic_batch() as inner:
                inner[b"a"] = b"1"
            assert db[b"a"] == b"1"
            raise OnPurpose
        assert b"a" not in db

    def test_a_failed_inner_batch_leaves_the_outer_alone(self, db):
        with db.atomic_batch() as outer:
            outer[b"a"] = b"1"
            with failing(), db.atomic_batch() as inner:
                inner[b"a"] = b"2"
                raise OnPurpose
            assert outer[b"a"] == b"1"
        assert list(db.rows()) == [(b"a", b"1")]

    def test_deleting(self, db):
        db[b"a"] = b"1"
        with db.atomic_batch() as batch:
            del batch[b"a"]
            assert b"a" not in batch
            with pytest.raises(KeyError):
                db[b"a"]
            with pytest.raises(KeyError):
                del batch[b"a"]
        assert b"a" not in db

    def test_a_missing_key(self, db):
        with pytest.raises(KeyError):
            db[b"nothing"]
        assert db.get(b"nothing") is None


class TestSnapshots:
    def test_revert_restores_every_row(self):
        db = MemoryDB()
        db[b"kept"] = b"1"
        db[b"gone"] = b"2"
        first = db.snapshot()
        db[b"kept"] = b"3"
        second = db.snapshot()
        del db[b"gone"]
        db[b"new"] = b"4"
        db.revert(second)
        assert dict(db.rows()) == {b"kept": b"3", b"gone": b"2"}
        db.revert(first)
        assert dict(db.rows()) == {b"kept": b"1", b"gone": b"2"}

    def test_a_used_snapshot_is_refused(self):
        db = MemoryDB()
        first = db.snapshot()
        db.snapshot()
        db.revert(first)
        for used in (first, 2, 0, -1):
            with pytest.raises(KeyError):
                db.revert(used)


class TestOneCommitPerBlock:
    def test_a_block_is_one_transaction(self, chain_path, genesis, alice):
        with EmbeddedNode.create_or_open(chain_path, genesis) as node:
            statements: list[str] = []
            node._db._connection.set_trace_callback(statements.append)
            node.mine([alice.sign() for _ in range(5)])
            node._db._connection.set_trace_callback(None)
        assert statements.count("COMMIT") == 1
        assert statements.count("BEGIN IMMEDIATE") == 1

    def test_the_store_is_durable(self, tmp_path):
        db = SqliteDB(tmp_path / "kv.sqlite")
        pragma = {
            name: db._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "locking_mode")
        }
        db.checkpoint_and_close()
        assert pragma == {"journal_mode": "wal", "synchronous": 2, "locking_mode": "exclusive"}

    def test_closing_leaves_one_plain_file(self, tmp_path):
        path = tmp_path / "kv.sqlite"
        db = SqliteDB(path)
        db[b"a"] = b"1" * 10_000
        assert (tmp_path / "kv.sqlite-wal").stat().st_size > 0
        db.checkpoint_and_close()
        db.checkpoint_and_close()
        assert [file.name for file in tmp_path.iterdir()] == ["kv.sqlite"]
        assert path.read_bytes()[18:20] == b"\x01\x01"  # rollback format, not WAL


class TestReadOnly:
    def test_nothing_in_the_folder_changes(self, chain_path, genesis, alice):
        with EmbeddedNode.create_or_open(chain_path, genesis) as node:
            node.mine([alice.sign()])
        before = folder_state(chain_path.parent)
        with open_read_only(chain_path) as db:
            rows = len(list(db.rows()))
            assert db.integrity_faults() == []
            assert folder_state(chain_path.parent) == before
            with pytest.raises(StoreError, match="read-only"):
                db[b"a"] = b"1"
        assert rows > 10
        assert folder_state(chain_path.parent) == before

    def test_a_killed_chain_is_read_through_its_log(self, tmp_path):
        path = tmp_path / "chain" / "kv.sqlite"
        code = (
            "import os, sys; from pathlib import Path; import contracts.node;"
            "from contracts.node.kv import SqliteDB;"
            "db = SqliteDB(Path(sys.argv[1])); db[b'a'] = b'1'; os._exit(9)"
        )
        subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=60)
        before = folder_state(path.parent)
        assert "kv.sqlite-wal" in before
        with open_read_only(path) as db:
            assert db[b"a"] == b"1"
        assert folder_state(path.parent) == before

    def test_a_chain_that_is_open_here_is_refused(self, tmp_path):
        path = tmp_path / "kv.sqlite"
        db = SqliteDB(path)
        with pytest.raises(ChainUnavailableError, match="open for writing in this process"):
            open_read_only(path)
        db.checkpoint_and_close()
        with open_read_only(path), pytest.raises(ChainUnavailableError, match="being read"):
            SqliteDB(path)
        SqliteDB(path).checkpoint_and_close()

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(StoreError, match="no chain file there"):
            open_read_only(tmp_path / "none.sqlite")
        assert list(tmp_path.iterdir()) == []


OTHER_PROCESS = """
import sys
from pathlib import Path
import contracts.node
from contracts.node.kv import SqliteDB, open_read_only
from coordinator.protocol.errors import FedproofError
for attempt in (SqliteDB, open_read_only):
    try:
        attempt(Path(sys.argv[1]))
    except FedproofError as refused:
        print(type(refused).__name__, refused)
"""


class TestOneUser:
    def test_a_second_node_is_refused_by_name(self, tmp_path):
        path = tmp_path / "kv.sqlite"
        db = SqliteDB(path)
        db[b"a"] = b"1"
        with pytest.raises(ChainUnavailableError, match="already open in this process"):
            SqliteDB(path)
        other = subprocess.run(
            [sys.executable, "-c", OTHER_PROCESS, str(path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        writer, reader = other.stdout.splitlines()
        assert writer == (
            f"ChainUnavailableError {path}: locked by another process;"
            " one node at a time may use a chain folder"
        )
        assert reader == (
            f"ChainUnavailableError {path}: open in another process; ask its RPC, or stop it first"
        )
        db[b"b"] = b"2"  # the refused ones did no harm
        db.checkpoint_and_close()
        with open_read_only(path) as reread:
            assert dict(reread.rows()) == {b"a": b"1", b"b": b"2"}


class TestForeignFiles:
    def test_not_sqlite(self, tmp_path):
        path = tmp_path / "kv.sqlite"
        path.write_bytes(b"a text file, longer than the magic")
        for attempt in (SqliteDB, open_read_only):
            with pytest.raises(StoreError, match="not a chain file"):
                attempt(path)
        assert path.read_bytes() == b"a text file, longer than the magic"

    def test_another_programs_sqlite(self, tmp_path):
        path = tmp_path / "kv.sqlite"
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE kv (key, value)")
        other.commit()
        other.close()
        before = path.read_bytes()
        for attempt in (SqliteDB, open_read_only):
            with pytest.raises(StoreError, match="not a Fedproof chain"):
                attempt(path)
        assert path.read_bytes() == before

    def test_a_format_from_the_future(self, tmp_path):
        path = tmp_path / "kv.sqlite"
        db = SqliteDB(path)
        db._connection.execute("PRAGMA user_version=2")
        db.checkpoint_and_close()
        for attempt in (SqliteDB, open_read_only):
            with pytest.raises(StoreError, match=r"chain format 2; .* reads 1"):
                attempt(path)

    def test_a_truncated_file(self, tmp_path, genesis):
        path = tmp_path / "kv.sqlite"
        EmbeddedNode.create_or_open(path, genesis).close()
        path.write_bytes(path.read_bytes()[:3000])
        with pytest.raises(StoreError, match="damaged, or not a chain file"):
            EmbeddedNode.create_or_open(path)

    def test_a_folder_in_the_way(self, tmp_path):
        with pytest.raises(StoreError, match="a folder, where a chain file was expected"):
            SqliteDB(tmp_path)

    def test_a_file_where_the_folder_should_be(self, tmp_path):
        (tmp_path / "chain").write_text("in the way")
        with pytest.raises(StoreError, match="cannot be opened"):
            SqliteDB(tmp_path / "chain" / "kv.sqlite")


class TestFullDisk:
    def test_the_block_is_refused_and_the_chain_goes_on(self, chain_path, genesis, alice):
        node = EmbeddedNode.create_or_open(chain_path, genesis)
        first = node.mine([alice.sign()])
        pages = node._db._connection.execute("PRAGMA page_count").fetchone()[0]
        node._db._connection.execute(f"PRAGMA max_page_count={pages}")
        batch = [alice.sign() for _ in range(50)]
        with pytest.raises(StoreError, match="no room left on the disk") as caught:
            node.mine(batch)
        assert str(chain_path) in str(caught.value)
        assert node.head.hash == first.hash
        assert node.get_nonce(alice.address) == 1
        node._db._connection.execute("PRAGMA max_page_count=1000000")
        second = node.mine(batch)
        assert (second.number, len(second.receipts)) == (2, 50)
        node.close()
        with EmbeddedNode.open_read_only(chain_path) as reread:
            assert reread.head.hash == second.hash

    def test_the_hashes_are_those_of_an_undisturbed_chain(self, chain_path, genesis, alice):
        node = EmbeddedNode.create_or_open(chain_path, genesis)
        batch = [alice.sign() for _ in range(50)]
        node._db._connection.execute("PRAGMA max_page_count=2")
        with pytest.raises(StoreError):
            node.mine(batch)
        node._db._connection.execute("PRAGMA max_page_count=1000000")
        disturbed = node.mine(batch).hash
        node.close()
        assert disturbed == EmbeddedNode.create_or_open(None, genesis).mine(batch).hash


def test_empty_genesis_is_a_chain_too(tmp_path):
    with EmbeddedNode.create_or_open(tmp_path / "c.sqlite", GenesisConfig()) as node:
        assert node.head.number == 0
