"""The service bench on a chain whose referee (``gavel.vy``) convicts any round at a test's call."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from eth_account import Account
from memory_ledger import MemoryJournal, MemoryLedger, MemoryStore
from service_bench import CONTRIBUTORS, EXPERIMENT, INITIAL, MANIFEST, Bench
from web3 import Web3

from contracts.binding import calls
from contracts.binding.artifacts import artifact_from_json
from contracts.binding.calls import Call
from contracts.binding.federation import Federation
from contracts.compile import compile_contract
from contracts.node.genesis import GenesisConfig
from contracts.node.node import EmbeddedNode
from contracts.node.provider import EmbeddedProvider
from contracts.node.rpc import Dispatcher
from coordinator.ledger.contract_ledger import ChainLedger
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.types import Address, RoundId, SigningDomain, Wei
from simulations.run.chain import terms_of
from simulations.run.identities import genesis_of, identities_of, private_key

SOURCES = Path(__file__).parents[1] / "contracts" / "sources"
KEYS = [private_key(EXPERIMENT.seed, f"contributor {i}") for i in range(CONTRIBUTORS)]
TIMED = EXPERIMENT.model_copy(
    update={
        "chain": EXPERIMENT.chain.model_copy(update={"challenge_window_s": 1000}),
        "stake": EXPERIMENT.stake.model_copy(update={"coordinator_slash_bps": 0}),
    }
)


@dataclass
class DisputedBench(Bench):
    """A bench in which a round can be convicted without a fraud."""

    def convict(self, number: int, reason: str) -> None:
        assert isinstance(self.ledger, MemoryLedger)
        self.ledger.convict(RoundId(number), reason)


def memory_bench() -> DisputedBench:
    identities = identities_of(TIMED)
    ledger = MemoryLedger(
        parameter_root(INITIAL, MANIFEST),
        {Address(a): Wei(10**18) for a in identities.addresses},
        SigningDomain(1337, Address(identities.coordinator.address)),
        Wei(1000),
        Wei(9000),
        min_contributors=2,
        challenge_window_s=1000,
    )
    return DisputedBench(ledger, MemoryStore(), MemoryJournal(), KEYS)


@dataclass
class GavelBench(DisputedBench):
    """The same over the real contract, with ``gavel.vy`` as its referee."""

    federation: Federation | None = None
    gavel: str = ""

    def convict(self, number: int, reason: str) -> None:
        assert self.federation is not None
        offence = reason.encode().ljust(32, b"\0")
        abi = GAVEL.functions["convict"]
        prover = Account.from_key(KEYS[0])
        data = abi.encode_call((self.federation.address, number, prover.address, offence))
        transactor = self.federation.transactor
        call = Call("convict", data, Wei(0), 1_000_000, "convict")
        transactor.send(transactor.prepare(prover, call, self.gavel))


GAVEL = artifact_from_json(compile_contract(SOURCES / "gavel.vy", SOURCES))


@contextmanager
def chain_bench() -> Iterator[DisputedBench]:
    identities = identities_of(TIMED)
    genesis: GenesisConfig = genesis_of(TIMED, identities)
    with EmbeddedNode.create_or_open(None, genesis) as node:
        w3 = Web3(EmbeddedProvider(Dispatcher(node, dev=True)))
        terms = terms_of(TIMED, identities, parameter_root(INITIAL, MANIFEST))
        coordinator = identities.coordinator
        federation = Federation.deploy(w3, coordinator, terms)
        deploy = Call("deploy", GAVEL.creation_code(()), Wei(0), 1_000_000, "deploy gavel")
        deployment = federation.transactor.prepare(coordinator, deploy, None)
        gavel = federation.send(deployment).contract_address
        assert gavel is not None
        federation.set_referee(coordinator, gavel)
        federation.bond_coordinator(coordinator, Wei(10**19))
        federation.fund(coordinator, Wei(9000))
        joins = [(account, calls.join(Wei(10**18))) for account in identities.contributors]
        federation.send_batch(federation.prepare_all(joins))
        ledger = ChainLedger(federation, coordinator, next_time=lambda: node.next_timestamp)
        yield GavelBench(
            ledger, MemoryStore(), MemoryJournal(), KEYS, federation=federation, gavel=gavel
        )
