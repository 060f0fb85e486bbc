"""What the commands call: serving in the foreground, and describing a chain file."""

import os
import signal
import subprocess
import sys

import pytest
from web3 import Web3

from contracts.node.node import EmbeddedNode
from contracts.node.operate import DEFAULT_BALANCE_WEI, describe, new_genesis, serve
from contracts.node.replica import replay
from coordinator.protocol.errors import ChainUnavailableError, ConfigError, StoreError

SERVE = """
import sys
from contracts.node.operate import new_genesis, serve
serve(sys.argv[1], genesis=new_genesis([sys.argv[2]]), port=int(sys.argv[3]), dev=False,
      interval_s=0.02, on_ready=lambda url, node: print(url, flush=True))
"""


@pytest.fixture
def serving(chain_path, alice):
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(chain_path), alice.address, "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    url = process.stdout.readline().strip()
    yield process, url
    process.kill()
    process.communicate()


class TestServing:
    @pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
    def test_a_life_in_another_process(self, serving, chain_path, alice, ending):
        process, url = serving
        web3 = Web3(Web3.HTTPProvider(url))
        assert web3.eth.get_balance(alice.address) == DEFAULT_BALANCE_WEI
        sent = [web3.eth.send_raw_transaction(alice.sign()) for _ in range(3)]
        receipts = [web3.eth.wait_for_transaction_receipt(item, 20, 0.01) for item in sent]
        assert [receipt["status"] for receipt in receipts] == [1, 1, 1]
        assert "error" in web3.provider.make_request("evm_mine", [])
        with pytest.raises(ChainUnavailableError, match="open in another process"):
            describe(chain_path)
        with pytest.raises(ChainUnavailableError, match="locked by another process"):
            EmbeddedNode.create_or_open(chain_path)
        process.send_signal(ending)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""
        assert os.listdir(chain_path.parent) == [chain_path.name]
        assert replay(chain_path).transactions == 3

    def test_blocks_follow_the_clock(self, serving, alice):
        import time

        _, url = serving
        web3 = Web3(Web3.HTTPProvider(url))
        sent = web3.eth.send_raw_transaction(alice.sign())
        receipt = web3.eth.wait_for_transaction_receipt(sent, 20, 0.01)
        stamped = web3.eth.get_block(receipt["blockNumber"])["timestamp"]
        assert abs(stamped - time.time()) < 60

    def test_a_taken_port_leaves_the_chain_closed(self, serving, tmp_path, alice):
        _, url = serving
        port = int(url.rsplit(":", 1)[1])
        path = tmp_path / "other" / "chain.sqlite"
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}: cannot listen there"):
            serve(path, genesis=new_genesis([alice.address]), port=port)
        EmbeddedNode.open_read_only(path).close()

    def test_no_chain_and_no_parameters(self, chain_path):
        with pytest.raises(ConfigError, match="no genesis parameters given"):
            serve(chain_path)


def test_new_genesis(alice):
    genesis = new_genesis([alice.address], chain_id=5, balance_wei=7, timestamp=9)
    assert (genesis.chain_id, genesis.timestamp, dict(genesis.alloc)) == (5, 9, {alice.address: 7})
    with pytest.raises(ConfigError, match="alloc: 'nobody'"):
        new_genesis(["nobody"])


class TestDescribing:
    @pytest.fixture
    def recorded(self, chain_path, genesis, alice, counter_code, encode):
        with EmbeddedNode.create_or_open(chain_path, genesis) as node:
            code = counter_code.bytecode
            made = node.mine([alice.sign(to="", value=0, gas=2_000_000, data=code)])
            to = made.receipts[0].contract_address
            node.mine(
                [alice.sign(to=to, gas=99_999, data=encode("bump", n), value=0) for n in (3, 30)]
            )
        return chain_path

    def test_every_block(self, recorded, genesis, alice, encode):
        blocks = describe(recorded, method_names={encode("bump", 0)[:4]: "bump"})
        assert [block.number for block in blocks] == [0, 1, 2]
        assert blocks[0].timestamp == genesis.timestamp
        assert [[t.method for t in block.transactions] for block in blocks] == [
            [],
            ["deploy"],
            ["bump", "bump"],
        ]
        assert [t.status for t in blocks[2].transactions] == [1, 0]
        assert {t.sender for t in blocks[2].transactions} == {alice.address}
        assert sum(t.gas_used for t in blocks[2].transactions) == blocks[2].gas_used

    def test_the_newest_and_without_names(self, recorded):
        (block,) = describe(recorded, last=1)
        assert block.number == 2
        assert [t.method for t in block.transactions] == ["", ""]
        assert len(describe(recorded, last=99)) == 3

    def test_no_chain(self, chain_path):
        with pytest.raises(StoreError, match="no chain file there"):
            describe(chain_path)
