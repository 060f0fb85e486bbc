"""A chain file is copied as it was at one moment, whatever its node does meanwhile."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from contracts.node import snapshot as module
from contracts.node.genesis import GenesisConfig
from contracts.node.kv import SqliteDB, open_read_only
from contracts.node.node import EmbeddedNode
from contracts.node.replica import replay
from contracts.node.snapshot import snapshot
from coordinator.protocol.errors import ChainUnavailableError, StoreError

# Moves pages from the log to the file every few blocks, so that copies meet every kind of moment.
NODE = """
import sys
from pathlib import Path
from contracts.node import kv
from contracts.node.genesis import GenesisConfig
from contracts.node.node import EmbeddedNode

connect = kv.connect_for_writing

def connect_with_a_short_log(path):
    connection = connect(path)
    connection.execute("PRAGMA wal_autocheckpoint=20")
    return connection

kv.connect_for_writing = connect_with_a_short_log
node = EmbeddedNode.create_or_open(Path(sys.argv[1]), GenesisConfig())
print("ready", flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        node.mine()
    print(node.head_number, flush=True)
"""


def test_each_copy_of_a_chain_that_grows_is_a_chain(tmp_path: Path) -> None:
    path = tmp_path / "chain" / "chain.sqlite"
    arguments = [sys.executable, "-c", NODE, str(path)]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as node:
        assert node.stdin is not None
        assert node.stdout is not None
        assert node.stdout.readline() == "ready\n"
        node.stdin.write("150\n")
        node.stdin.close()
        copies = []
        while node.poll() is None:
            with snapshot(path) as copy:
                copies.append(shutil.copyfile(copy, tmp_path / f"{len(copies)}.sqlite"))
        assert node.stdout.read() == "150\n"
    heads = [replay(copy).head_number for copy in copies[:: max(1, len(copies) // 6)]]
    assert heads == sorted(heads)
    assert {*heads} - {0, 150}, heads
    assert replay(path).head_number == 150


def test_a_log_that_is_begun_anew_is_copied_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "chain.sqlite"
    db = SqliteDB(path)
    db[b"a"] = b"1"
    other = tmp_path / "elsewhere" / path.name  # as another process would have it open
    other.parent.mkdir()

    def take() -> None:
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{path}{suffix}", f"{other}{suffix}")

    take()
    copies: list[Path] = []
    copyfile = shutil.copyfile

    def disturbed(source: Path, target: Path) -> Any:
        copyfile(source, target)
        copies.append(Path(source))
        if len(copies) == 1:  # between file and log: all is moved, and the log begun anew
            db._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
            db[b"b"] = b"2"
            for suffix in ("", "-wal"):
                copyfile(Path(f"{path}{suffix}"), Path(f"{other}{suffix}"))

    monkeypatch.setattr(module.shutil, "copyfile", disturbed)
    with snapshot(other) as copy, open_read_only(copy) as found:
        assert dict(found.rows()) == {b"a": b"1", b"b": b"2"}
    assert copies.count(other) == 2
    db.checkpoint_and_close()


def test_what_changes_all_the_time_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "chain.sqlite"
    SqliteDB(path).checkpoint_and_close()
    states = iter(range(1_000))
    monkeypatch.setattr(module, "_state", lambda _path: next(states))
    with pytest.raises(ChainUnavailableError, match="changes faster than it can be copied"):
        snapshot(path).__enter__()


def test_a_plain_file_is_copied_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "chain.sqlite"
    node = EmbeddedNode.create_or_open(path, GenesisConfig())
    node.mine()
    node.close()
    with snapshot(path) as copy:
        assert copy.read_bytes() == path.read_bytes()
    assert not copy.parent.exists()
    assert [p.name for p in tmp_path.iterdir()] == ["chain.sqlite"]


def test_what_cannot_be_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "chain.sqlite"
    with pytest.raises(StoreError, match="no chain file there"):
        snapshot(path).__enter__()
    db = SqliteDB(path)
    with pytest.raises(ChainUnavailableError, match="open for writing in this process"):
        snapshot(path).__enter__()
    db.checkpoint_and_close()

    def full(_source: Path, _target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.shutil, "copyfile", full)
    with pytest.raises(ChainUnavailableError, match=r"cannot be copied to .*: No space left"):
        snapshot(path).__enter__()
    path.write_bytes(b"x" * 8192)
    with pytest.raises(StoreError, match="not a chain file"):
        snapshot(path).__enter__()
