"""The chains that contract tests run on: the embedded node in memory, or revm without blocks."""

from revm_chain import RevmNode, RevmTransactor
from web3 import Web3

from contracts.binding.rpc import rpc_of
from contracts.binding.transactions import Transactor
from contracts.node.genesis import GenesisConfig
from contracts.node.node import EmbeddedNode
from contracts.node.provider import EmbeddedProvider
from contracts.node.rpc import Dispatcher
from coordinator.protocol.types import Wei

Chain = tuple[EmbeddedNode, Web3, Transactor]


def embedded_chain(genesis: GenesisConfig) -> Chain:
    node = EmbeddedNode.create_or_open(None, genesis)
    w3 = Web3(EmbeddedProvider(Dispatcher(node, dev=True)))
    # A fixed fee cap: the tests look at balances, not at fees.
    return node, w3, Transactor(rpc_of(w3), max_fee_wei=Wei(2 * 10**9))


def bare_chain(genesis: GenesisConfig) -> Chain:
    """Return a chain on revm; ``revm_chain`` says which parts of a node it lacks."""
    node = RevmNode(dict(genesis.alloc))
    return node, None, RevmTransactor(node)  # type: ignore[return-value]
