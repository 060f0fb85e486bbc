"""What the tests' worlds run on: the embedded node in memory, or a bare second EVM."""

from revm_chain import RevmNode, RevmTransactor
from web3 import Web3

from contracts.chain.genesis import GenesisConfig
from contracts.chain.node import EmbeddedNode
from contracts.chain.provider import EmbeddedProvider
from contracts.chain.rpc import Dispatcher
from contracts.rpc import rpc_of
from contracts.transactions import Transactor
from coordinator.core.types import Wei

Chain = tuple[EmbeddedNode, Web3, Transactor]


def embedded_chain(genesis: GenesisConfig) -> Chain:
    node = EmbeddedNode.create_or_open(None, genesis)
    w3 = Web3(EmbeddedProvider(Dispatcher(node, dev=True)))
    # A fixed fee cap: the tests look at balances, not at fees.
    return node, w3, Transactor(rpc_of(w3), max_fee_wei=Wei(2 * 10**9))


def bare_chain(genesis: GenesisConfig) -> Chain:
    """As far as the worlds use it; see ``revm_chain`` for what is not there."""
    node = RevmNode(dict(genesis.alloc))
    return node, None, RevmTransactor(node)  # type: ignore[return-value]
