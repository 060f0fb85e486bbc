"""The same world over HTTP: the embedded node's server, or anvil."""

from dataclasses import dataclass
from typing import Any

from eth_account.signers.local import LocalAccount
from federation_world import COORDINATOR, ETHER, EVERYONE, TERMS, World
from web3 import Web3

from contracts.binding.calls import Call
from contracts.binding.federation import Federation
from contracts.binding.records import Terms
from contracts.binding.rpc import rpc_of
from contracts.binding.transactions import Receipt


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
