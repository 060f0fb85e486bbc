"""Accounts, a signed-transaction maker and a small contract for the chain's tests."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import vyper
from eth_account import Account
from eth_account.signers.local import LocalAccount

from contracts.node.genesis import GenesisConfig
from contracts.node.node import EmbeddedNode

ETHER = 10**18
COUNTER_SOURCE = """
# pragma version 0.4.3
event Bumped:
    by: indexed(address)
    value: uint256

count: public(uint256)
slots: public(uint256[64])

@external
@payable
def bump(n: uint256) -> uint256:
    assert n < 10, "too big"
    self.count += n
    log Bumped(by=msg.sender, value=n)
    return self.count

@external
@payable
def pay(to: address):
    send(to, msg.value)

@external
def fill(n: uint256, padding: Bytes[4096]):
    for i: uint256 in range(n, bound=64):
        self.slots[i] = 7

@external
def clear(n: uint256, padding: Bytes[4096]):
    for i: uint256 in range(n, bound=64):
        self.slots[i] = 0

@external
def burn():
    assert 1 == self.count, UNREACHABLE

@external
@view
def now() -> (uint256, uint256):
    return block.timestamp, block.number

@external
@view
def ancestor(n: uint256) -> bytes32:
    return blockhash(n)
"""


@dataclass
class Wallet:
    """Signs with one key and counts its nonces."""

    account: LocalAccount
    chain_id: int = 1337
    nonce: int = 0
    address: str = field(init=False)

    def __post_init__(self) -> None:
        self.address = self.account.address

    def sign(self, **fields: Any) -> bytes:
        """Sign a transfer of 1 wei, or what ``fields`` make of it; the nonce goes up."""
        transaction = {
            "to": "0x" + "11" * 20,
            "value": 1,
            "gas": 21_000,
            "maxFeePerGas": 2 * 10**9,
            "maxPriorityFeePerGas": 0,
            "nonce": self.nonce,
            "chainId": self.chain_id,
            **fields,
        }
        if "gasPrice" in fields:
            del transaction["maxFeePerGas"], transaction["maxPriorityFeePerGas"]
        self.nonce = transaction["nonce"] + 1
        return bytes(self.account.sign_transaction(transaction).raw_transaction)


def make_wallet(number: int) -> Wallet:
    return Wallet(Account.from_key(number.to_bytes(32, "big")))


@pytest.fixture
def alice() -> Wallet:
    return make_wallet(1)


@pytest.fixture
def bob() -> Wallet:
    return make_wallet(2)


@pytest.fixture
def stranger() -> Wallet:
    """Owns nothing."""
    return make_wallet(99)


@pytest.fixture
def genesis(alice: Wallet, bob: Wallet) -> GenesisConfig:
    return GenesisConfig(alloc={alice.address: 1000 * ETHER, bob.address: 10 * ETHER})


@pytest.fixture
def node(genesis: GenesisConfig) -> Iterator[EmbeddedNode]:
    with EmbeddedNode.create_or_open(None, genesis) as made:
        yield made


@pytest.fixture
def chain_path(tmp_path: Path) -> Path:
    return tmp_path / "chain" / "chain.sqlite"


@dataclass(frozen=True)
class Compiled:
    abi: list[Any]
    bytecode: bytes


@pytest.fixture(scope="session")
def counter_code() -> Compiled:
    output = vyper.compile_code(COUNTER_SOURCE, output_formats=["abi", "bytecode"])
    return Compiled(output["abi"], bytes.fromhex(output["bytecode"][2:]))


@pytest.fixture
def encode(counter_code: Compiled) -> Callable[..., bytes]:
    """Encode a call of the counter contract."""
    from web3 import Web3

    contract = Web3().eth.contract(abi=counter_code.abi)

    def encode_call(name: str, *arguments: Any) -> bytes:
        return bytes.fromhex(contract.encode_abi(name, list(arguments))[2:])

    return encode_call


@pytest.fixture
def counter(node: EmbeddedNode, alice: Wallet, counter_code: Compiled) -> str:
    """Address of a deployed counter."""
    block = node.mine([alice.sign(to="", value=0, gas=2_000_000, data=counter_code.bytecode)])
    assert block.receipts[0].is_success
    address = block.receipts[0].contract_address
    assert address is not None
    return address
