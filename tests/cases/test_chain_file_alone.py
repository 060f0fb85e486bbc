"""A chain's file that was copied without the log beside it, while a node had it open."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from federation_world import ETHER, EVERYONE

from contracts.node.genesis import GenesisConfig
from contracts.node.node import EmbeddedNode
from contracts.node.replica import replay
from contracts.node.snapshot import snapshot
from coordinator.protocol.errors import StoreError

GENESIS = GenesisConfig(alloc={account.address: 100 * ETHER for account in EVERYONE})


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The main file of an open chain, alone in a folder."""
    (tmp_path / "copy").mkdir()
    node = EmbeddedNode.create_or_open(tmp_path / "chain.sqlite", GENESIS)
    node.mine([])
    shutil.copy(tmp_path / "chain.sqlite", tmp_path / "copy" / "chain.sqlite")
    node.close()
    return tmp_path / "copy" / "chain.sqlite"


def test_replaying_it_is_refused(copied: Path) -> None:
    with pytest.raises(StoreError, match="not a Fedproof chain"):
        replay(copied, GENESIS)


def test_it_is_not_begun_anew(copied: Path) -> None:
    with pytest.raises(StoreError, match="not a Fedproof chain"):
        EmbeddedNode.create_or_open(copied, GENESIS).close()


def test_it_is_not_opened_as_an_older_chain(tmp_path: Path) -> None:
    """Closed once, the main file holds blocks; those after it are in the log."""
    chain = tmp_path / "chain.sqlite"
    with EmbeddedNode.create_or_open(chain, GENESIS) as node:
        node.mine([])
    (tmp_path / "copy").mkdir()
    with EmbeddedNode.create_or_open(chain, GENESIS) as node:
        node.mine([])
        shutil.copy(chain, tmp_path / "copy" / "chain.sqlite")
    for opened in (EmbeddedNode.create_or_open, EmbeddedNode.open_read_only, replay):
        with pytest.raises(StoreError, match=r"newest blocks are in chain\.sqlite-wal"):
            opened(tmp_path / "copy" / "chain.sqlite")


def test_a_snapshot_of_it_is_refused(copied: Path) -> None:
    with pytest.raises(StoreError, match=f"^{copied}: "), snapshot(copied):
        pass


def test_with_its_log_it_is_the_chain(tmp_path: Path) -> None:
    node = EmbeddedNode.create_or_open(tmp_path / "chain.sqlite", GENESIS)
    node.mine([])
    for name in ("chain.sqlite", "chain.sqlite-wal"):
        (tmp_path / "copy").mkdir(exist_ok=True)
        shutil.copy(tmp_path / name, tmp_path / "copy" / name)
    node.close()
    with EmbeddedNode.create_or_open(tmp_path / "copy" / "chain.sqlite", GENESIS) as again:
        assert again.head_number == 1


def test_an_empty_log_says_that_nothing_is_lost(tmp_path: Path) -> None:
    """As the log is between two of SQLite's checkpoints, and as a person says it by hand."""
    node = EmbeddedNode.create_or_open(tmp_path / "chain.sqlite", GENESIS)
    node.mine([])
    node._db._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    (tmp_path / "copy").mkdir()
    copy = Path(shutil.copy(tmp_path / "chain.sqlite", tmp_path / "copy"))
    node.close()
    Path(f"{copy}-wal").touch()
    with EmbeddedNode.create_or_open(copy, GENESIS) as again:
        assert again.head_number == 1


FORGETFUL = """
import sys
from federation_world import ETHER, EVERYONE
from contracts.node.genesis import GenesisConfig
from contracts.node.node import EmbeddedNode
alloc = {account.address: 100 * ETHER for account in EVERYONE}
node = EmbeddedNode.create_or_open(sys.argv[1], GenesisConfig(alloc=alloc))
node.mine([])
"""


def test_a_chain_that_nobody_closed_is_whole(tmp_path: Path) -> None:
    chain = tmp_path / "chain.sqlite"
    done = subprocess.run(
        [sys.executable, "-c", FORGETFUL, str(chain)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with EmbeddedNode.create_or_open(chain, GENESIS) as node:
        assert node.head_number == 1


KILLED_AT_A_CALL = """
import sys
from pathlib import Path
from contracts.node.kv import SqliteDB
SqliteDB(Path(sys.argv[1])).checkpoint_and_close()
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace kills at a system call")
def test_killed_while_it_is_closed_it_opens_again(tmp_path: Path) -> None:
    """Before each removal of a file: of the log, then of SQLite's journal."""
    kills = 0
    for number in range(1, 10):
        chain = tmp_path / str(number) / "chain.sqlite"
        with EmbeddedNode.create_or_open(chain, GENESIS) as node:
            node.mine([])
        done = subprocess.run(
            ["strace", "-f", "-q", "-o", "/dev/null",
             "-P", f"{chain}-wal", "-P", f"{chain}-journal",
             "-e", "trace=unlink", "-e", f"inject=unlink:signal=SIGKILL:when={number}",
             sys.executable, "-c", KILLED_AT_A_CALL, str(chain)],
            check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        if done.returncode == 0:
            break
        kills += 1
        with EmbeddedNode.create_or_open(chain, GENESIS) as node:
            assert node.head_number == 1
    assert kills >= 2
