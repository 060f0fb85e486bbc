"""kill -9 at any instant: no acknowledged block is lost, and the chain goes on.

A parent process imports py-evm once and forks a child for each kill, so that a kill costs a
fraction of a second. What a child has printed is acknowledged.
"""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from contracts.node.kv import open_read_only
from contracts.node.node import EmbeddedNode
from contracts.node.replica import replay

KILLS = 24

COMMON = """
import os, sys
from pathlib import Path
import contracts.node
from contracts.node.genesis import GenesisConfig
from contracts.node.kv import SqliteDB
from contracts.node.node import EmbeddedNode
from eth_account import Account

path, key = Path(sys.argv[1]), b"\\x01" * 32
account = Account.from_key(key)

def signed(nonce):
    return bytes(account.sign_transaction({
        "to": "0x" + "11" * 20, "value": nonce, "gas": 21_000, "nonce": nonce, "chainId": 1337,
        "maxFeePerGas": 2 * 10**9, "maxPriorityFeePerGas": 0}).raw_transaction)

def say(text):
    os.write(1, (text + "\\n").encode())

def fork_for_each_line(work):
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                work(line.strip())
            finally:
                os._exit(1)
        say(f"pid {child}")
        os.waitpid(child, 0)
        say("dead")
"""

MINER = (
    COMMON
    + """
def work(kill_at):
    genesis = GenesisConfig(alloc={account.address: 10**24})
    node = EmbeddedNode.create_or_open(path, genesis)
    if kill_at:
        # Die as SQLite starts to execute the named statement of the second block from now.
        statement, seen = kill_at.split(":")[0], [0]
        def trace(sql):
            seen[0] += sql.startswith(statement)
            if seen[0] == int(kill_at.split(":")[1]):
                os.kill(os.getpid(), 9)
        node._db._connection.set_trace_callback(trace)
    nonce = node.get_nonce(account.address)
    while True:
        size = 1 + nonce % 7
        block = node.mine([signed(n) for n in range(nonce, nonce + size)])
        nonce += size
        say(f"block {block.number} {block.hash.hex()}")

fork_for_each_line(work)
"""
)

WRITER = (
    COMMON
    + """
def work(_):
    # Almost all of the time goes into the commit, so a kill at random is a kill inside it.
    db = SqliteDB(path)
    generation = int.from_bytes(db.get(b"generation", b"") or b"", "big")
    while True:
        generation += 1
        with db.atomic_batch() as batch:
            batch[b"generation"] = generation.to_bytes(8, "big")
            for row in range(64):
                batch[b"row%d" % row] = generation.to_bytes(8, "big") * 2048
        say(f"generation {generation}")

fork_for_each_line(work)
"""
)


class Mother:
    """Forks children on demand and listens to what they acknowledge."""

    def __init__(self, process: subprocess.Popen) -> None:
        self._process = process

    def kill_one(self, delay_acks: int, order: str = "", extra_s: float = 0.0) -> list[list[str]]:
        """Start a child, kill it some way into its work, return its acknowledgements."""
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        said: list[list[str]] = []
        pid = 0
        killed = bool(order)  # such a child kills itself
        while True:
            words = self._process.stdout.readline().split()
            assert words, "the process that forks has died"
            if words[0] == "dead":
                return said
            if words[0] == "pid":
                pid = int(words[1])
            else:
                said.append(words)
            if pid and not killed and len(said) >= delay_acks:
                wait_precisely(extra_s)
                os.kill(pid, signal.SIGKILL)
                killed = True


def wait_precisely(seconds: float) -> None:
    """Let the child run on for a fraction of a commit."""
    import time

    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


@contextmanager
def mother(code: str, path: Path) -> Iterator[Mother]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Mother(process)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_no_acknowledged_block_is_lost_at_random_instants(chain_path):
    chance = random.Random(20)
    acknowledged: dict[int, str] = {}
    with mother(MINER, chain_path) as forker:
        for kill in range(KILLS):
            said = forker.kill_one(1 + chance.randrange(4), extra_s=chance.random() * 0.02)
            acknowledged |= {int(number): digest for _, number, digest in said}
            if kill % 4 == 3:
                with EmbeddedNode.create_or_open(chain_path) as node:
                    head = node.head_number
                    assert max(acknowledged) <= head <= max(acknowledged) + 1
                    assert all(
                        node.block_hash(number).hex() == digest
                        for number, digest in acknowledged.items()
                    )
                    made = node.mine()
                    assert made.number == head + 1
                    acknowledged[made.number] = made.hash.hex()
    assert len(acknowledged) >= KILLS
    result = replay(chain_path)
    assert result.head_number == max(acknowledged)
    assert all(
        result.node.block_hash(number).hex() == digest for number, digest in acknowledged.items()
    )


@pytest.mark.slow
@pytest.mark.parametrize("order", ["BEGIN:2", "INSERT:1", "INSERT:30", "COMMIT:1", "COMMIT:3"])
def test_killed_between_the_statements_of_a_block(chain_path, order):
    with mother(MINER, chain_path) as forker:
        first = forker.kill_one(3)
        second = forker.kill_one(0, order)
    acknowledged = {int(number): digest for _, number, digest in first + second}
    with EmbeddedNode.open_read_only(chain_path) as node:
        # The block that was being written is not there: its commit was never executed.
        assert max(acknowledged) <= node.head_number <= max(acknowledged) + 1
        for number, digest in acknowledged.items():
            assert node.block_hash(number).hex() == digest
    assert replay(chain_path).head_number >= max(acknowledged)


@pytest.mark.slow
def test_a_batch_is_whole_or_not_there_when_killed_inside_a_commit(tmp_path):
    path = tmp_path / "kv.sqlite"
    chance = random.Random(21)
    with mother(WRITER, path) as forker:
        last = 0
        for _ in range(KILLS):
            said = forker.kill_one(1, extra_s=chance.random() * 0.01)
            last = max([last, *(int(generation) for _, generation in said)])
            with open_read_only(path) as db:
                rows = dict(db.rows())
                assert db.integrity_faults() == []
            found = rows.pop(b"generation")
            assert int.from_bytes(found, "big") - last in (0, 1)
            assert set(rows.values()) == {found * 2048}
            assert len(rows) == 64
