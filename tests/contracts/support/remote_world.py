"""The same world over HTTP: the embedded node's server, or anvil."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_account.signers.local import LocalAccount
from federation_world import COORDINATOR, ETHER, EVERYONE, TERMS, World
from web3 import Web3

from contracts.calls import Call
from contracts.federation import Federation
from contracts.records import Terms
from contracts.rpc import Rpc, rpc_of
from contracts.transactions import Receipt
from coordinator.core.errors import ChainUnavailableError

REPOSITORY = Path(__file__).parents[3]


def find_anvil() -> str | None:
    """``FEDPROOF_ANVIL``, else what npm installed at the root of the repository."""
    named = os.environ.get("FEDPROOF_ANVIL")
    return shutil.which(named or str(REPOSITORY / "node_modules" / ".bin" / "anvil"))


@contextmanager
def running_anvil(binary: str) -> Iterator[str]:
    """An anvil process; yields its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [binary, "--host", "127.0.0.1", "--port", str(port), "--chain-id", "1337"]
    command += ["--hardfork", "prague", "--enable-tx-gas-limit", "--accounts", "1", "--silent"]
    process = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url, process)
        yield url
    finally:
        # npm's launcher is another process than anvil: end the group.
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=20)


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    rpc = Rpc(Web3.HTTPProvider(url))
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            rpc.request("eth_chainId")
        except ChainUnavailableError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"anvil did not answer at {url}; exit status {process.poll()}")


@dataclass
class RemoteWorld(World):
    """A federation on a node that is only reached over JSON-RPC."""

    @classmethod
    def connect(cls, w3: Web3, terms: Terms = TERMS) -> "RemoteWorld":
        federation = Federation.deploy(w3, COORDINATOR, terms)
        return cls(None, w3, federation)  # type: ignore[arg-type]

    @property
    def now(self) -> int:
        return self.federation.now()

    def balance(self, who: str) -> int:
        return self.federation.rpc.quantity("eth_getBalance", who, "latest")

    def _next_at(self, timestamp: int | None) -> None:
        if timestamp is not None:
            self.federation.rpc.request("evm_setNextBlockTimestamp", hex(timestamp))

    def wait_until(self, timestamp: int) -> None:
        # anvil's own clock runs on between blocks: fix the next block's time itself.
        if self.now < timestamp:
            self._next_at(timestamp)

    def send(self, account: LocalAccount, call: Call, at: int | None = None) -> Receipt:
        self._next_at(at)
        return super().send(account, call)

    def invoke(self, *what: Any, value: int = 0, at: int | None = None) -> Receipt:
        self._next_at(at)
        return super().invoke(*what, value=value)


def give_ether_on_anvil(w3: Web3) -> None:
    rpc = rpc_of(w3)
    for account in EVERYONE:
        rpc.request("anvil_setBalance", account.address, hex(100 * ETHER))
