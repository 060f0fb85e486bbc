"""The chain in a process of its own, killed while a federation of three uses it."""

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from eth_account import Account
from fedproof_command import COMMAND, environment, fedproof, kill_group
from flower_deployment import free_port
from live_federation import live
from web3 import Web3

from contracts.binding.reader import FederationReader
from contracts.binding.rpc import rpc_of
from coordinator.protocol.types import Address, RoundId
from coordinator.settings.agreement import read_agreement

ROUNDS = 3
ETHER = 10**18


class ChainServer:
    """``fedproof chain serve`` on a file, with one rich account."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.rich = Account.create()
        self.url = f"http://127.0.0.1:{self.port}"
        self.w3 = Web3(Web3.HTTPProvider(self.url))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Serve, and wait until it answers."""
        chain = self.folder / "chain.sqlite"
        arguments = ["chain", "serve", chain, "--port", self.port]
        if not chain.exists():
            arguments += ["--account", self.rich.address]
        with open(self.folder / "chain.log", "ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, *map(str, arguments)],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self.process is not None:
            kill_group(self.process)

    def fund(self, *addresses: str) -> None:
        """Send a hundred ether to each."""
        for address in addresses:
            transaction = {
                "to": address,
                "value": 100 * ETHER,
                "gas": 21_000,
                "gasPrice": 2 * self.w3.eth.gas_price,
                "nonce": self.w3.eth.get_transaction_count(self.rich.address),
                "chainId": self.w3.eth.chain_id,
            }
            raw = self.rich.sign_transaction(transaction).raw_transaction
            self.w3.eth.wait_for_transaction_receipt(self.w3.eth.send_raw_transaction(raw))

    def reader(self, contract: str) -> FederationReader:
        """Return the contract as the server has it."""
        return FederationReader(rpc_of(self.w3), Address(contract))


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[ChainServer]:
    server = ChainServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_chain_server_that_is_killed_loses_no_round(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        await_answer(server)
        federation = live(tmp_path, names=("berlin", "paris"), rounds=ROUNDS, rpc=server.url)
        agreement = read_agreement(federation.root / "federation.json")
        keys = (json.loads(path.read_text()) for path in (tmp_path / "accounts").glob("*.json"))
        server.fund(*(Web3.to_checksum_address(key["address"]) for key in keys))
        with federation:
            federation.wait_for_rounds(1)
            reader = server.reader(agreement.contract)
            before = reader.round(RoundId(1))
            head = server.w3.eth.block_number
            server.kill()
            federation.wait_until(
                lambda: "connection refused" in federation.coordinator.said(), "the outage is told"
            )
            server.start()
            await_answer(server)
            assert server.w3.eth.block_number >= head
            federation.coordinator.until(lambda s: s["phase"] == "complete")
            assert reader.round(RoundId(1)).new_model_root == before.new_model_root
            url, ca = federation.coordinator.url, federation.root / "tls" / "ca.crt"
            done = fedproof("verify", "--rpc", server.url, "--store", url, "--ca", ca, "--json")
            assert done.returncode == 0, done.stdout + done.stderr
            assert set(federation.stop().values()) == {0}, federation.story()
        assert "Traceback" not in federation.story()


def await_answer(server: ChainServer) -> None:
    """Wait until the server is up."""
    end = time.monotonic() + 120
    while not server.w3.is_connected():
        assert time.monotonic() < end, (server.folder / "chain.log").read_text()
        assert server.process is not None
        assert server.process.poll() is None, (server.folder / "chain.log").read_text()
        time.sleep(0.1)
