"""``fedproof join`` run a second time while the first transaction still waits to be mined."""

import time
from pathlib import Path
from typing import Any

import pytest
from federation_world import CONTRIBUTORS, COORDINATOR, ETHER, EVERYONE, TERMS
from fedproof_command import start, start_service
from http_bench import save_key
from web3 import Web3

from contracts.binding.federation import Federation
from contracts.node.genesis import GenesisConfig
from contracts.node.node import EmbeddedNode
from contracts.node.provider import EmbeddedProvider
from contracts.node.rpc import Dispatcher
from contracts.node.server import serve_in_thread

PASSWORD = "correct horse"
ACCOUNT = CONTRIBUTORS[0]


@pytest.mark.parametrize(
    "money", [["join"], ["join", "--stake", "5000 wei"], ["fund", "5000 wei"]], ids=" ".join
)
def test_it_is_sent_once(tmp_path: Path, money: list[str]) -> None:
    save_key(tmp_path / "key.json", ACCOUNT, PASSWORD)
    (tmp_path / "password").write_text(PASSWORD)
    (tmp_path / "password").chmod(0o600)
    genesis = GenesisConfig(alloc={account.address: 100 * ETHER for account in EVERYONE})
    node = EmbeddedNode.create_or_open(None, genesis)
    instant = Dispatcher(node, dev=True)
    federation = Federation.deploy(Web3(EmbeddedProvider(instant)), COORDINATOR, TERMS)
    waiting = Dispatcher(node, dev=True, mining="manual")
    with serve_in_thread(waiting, port=0) as server:
        command = [
            *money, "--rpc", server.url, "--contract", federation.address,
            "--key", tmp_path / "key.json", "--password-file", tmp_path / "password",
        ]  # fmt: skip
        first = start(*command)
        rpc: Any = Web3(Web3.HTTPProvider(server.url)).eth
        wait_for(lambda: rpc.get_transaction_count(ACCOUNT.address, "pending") == 1)
        second = start_service(*command, output=tmp_path / "second.log", env={})
        wait_for(
            lambda: (
                second.poll() is not None
                or rpc.get_transaction_count(ACCOUNT.address, "pending") == 2
            )
        )
        EmbeddedProvider(waiting).make_request("evm_mine", [])  # type: ignore[arg-type]
        status = first.wait(60)
        status_of_second = second.wait(60)
    said = (tmp_path / "second.log").read_text()
    if status != 0:
        raise ChildProcessError(f"the first join ended with status {status}")
    assert status_of_second == 5, said
    assert "1 transaction(s) of " in said
    assert "on their way, not mined yet; nothing is sent" in said
    bond, pool = (0, 5000) if money[0] == "fund" else (5000 if money[1:] else 1000, 0)
    assert federation.account(ACCOUNT.address).bond_wei == bond
    assert federation.head().pool_wei == pool
    node.close()


def wait_for(condition: Any, timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {timeout_s} s")
        time.sleep(0.05)
