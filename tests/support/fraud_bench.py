"""A federation of five with hand-made updates, a dishonest coordinator and a watcher."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from web3 import Web3

from contracts.binding import calls
from contracts.binding.federation import Federation
from contracts.binding.referee import Referee
from contracts.binding.rpc import next_time, rpc_of
from coordinator.audit.watch.findings import Notice
from coordinator.audit.watch.watcher import Watcher, WatchOptions
from coordinator.ports import RoundAnnouncement, RoundOutcome
from coordinator.protocol.commitments.digests import canonical_json, metrics_hash
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.numbers.manifest import Manifest, TensorSpec
from coordinator.protocol.signatures.eip712 import address_of_key, sealed_commitment, sign_statement
from coordinator.protocol.types import (
    Address,
    Commitment,
    Int32Vector,
    RoundId,
    Rule,
    Signed,
    UpdateLimits,
    UpdateMessage,
    Wei,
)
from coordinator.service.archive import publish_plan
from coordinator.service.plan import FederationPlan
from coordinator.service.round_service import RoundService
from coordinator.service.scorers import RuleScorer, scoring_digest, scoring_document
from coordinator.stores.disk import DiskStore
from coordinator.stores.run_folder import FileJournal
from simulations.experiment.schema import Experiment
from simulations.run.chain import SimulatedChain, WaitingLedger, open_chain, terms_of
from simulations.run.dishonest import (
    Attacker,
    DishonestService,
    InsistentLedger,
    WithholdingStore,
)
from simulations.run.disputes import SimulatedDisputes
from simulations.run.identities import Identities, identities_of, private_key

CONTRIBUTORS = 5
ROUNDS = 4
GUILTY = 2
ETHER = 10**18
SALT = b"\x5a" * 32
MANIFEST = Manifest((TensorSpec("w", (5, 8), "float32"),), chunk_values=8)
D = MANIFEST.dimension
INITIAL = np.arange(D, dtype=np.int32) * 1000 - 20_000
SCORING = scoring_document("examples")
KINDS = {"fedavg": 1, "median": 2, "trimmed_mean": 3}


def experiment(*attacks: dict[str, Any], **sections: dict[str, Any]) -> Experiment:
    base: dict[str, dict[str, Any]] = {
        "partition": {"kind": "iid", "clients": CONTRIBUTORS},
        "cohort": {"min_contributors": 3},
        "chain": {"challenge_window_s": 60, "min_open_s": 30},
        "stake": {"coordinator_minimum_wei": 8 * ETHER, "coordinator_slash_bps": 2000},
        "rewards": {"round_budget_wei": 1_000_003},
        "watcher": {"enabled": True},
    }
    for name, values in sections.items():
        base[name] = {**base.get(name, {}), **values}
    attacks_ = [{"round": GUILTY, **attack} for attack in attacks]
    return Experiment.model_validate(
        {"seed": 5, "rounds": 9, **base, "coordinator_attacks": attacks_}
    )


def rule_of(used: Experiment) -> Rule:
    kind = used.aggregator.kind
    return Rule(
        version=1,
        kind=KINDS[kind],
        weighting=1 if kind == "fedavg" else 2,
        num_byzantine=1 if kind == "trimmed_mean" else 0,
        examples_cap=1000,
        server_lr_q16=1 << 16,
        server_momentum_q16=0,
        manifest_hash=MANIFEST.digest(),
        dimension=D,
        chunk_values=MANIFEST.chunk_values,
        scale_bits=MANIFEST.scale_bits,
        min_contributors=3,
        norm_bound_q=0,
        scoring_hash=scoring_digest(SCORING),
    )


def update_of(round_id: int, client: int) -> Int32Vector:
    rng = np.random.default_rng([round_id, client])
    return rng.integers(-5000, 5000, D).astype(np.int32)


# --- chains -------------------------------------------------------------------------------------


@dataclass
class RemoteChain:
    """The parts of a simulated chain that disputes need, on a node reached over JSON-RPC only."""

    federation: Federation
    referee: Referee
    ledger: WaitingLedger
    identities: Identities
    wait_until: Callable[[int], None]


def open_on_anvil(url: str, used: Experiment, root: bytes) -> RemoteChain:
    identities, w3 = identities_of(used), Web3(Web3.HTTPProvider(url))
    rpc = rpc_of(w3)
    accounts = [identities.coordinator, identities.watcher, *identities.contributors]
    for account in accounts:
        rpc.request("anvil_setBalance", account.address, hex(200 * ETHER))
    coordinator = identities.coordinator
    federation = Federation.deploy(w3, coordinator, terms_of(used, identities, root))
    referee = Referee.deploy(
        w3,
        coordinator,
        federation.address,
        deposit_wei=Wei(used.stake.dispute_deposit_wei),
        answer_s=used.chain.answer_s,
        transactor=federation.transactor,
    )
    federation.set_referee(coordinator, referee.address)
    federation.bond_coordinator(coordinator, Wei(used.stake.coordinator_bond_wei))
    federation.fund(coordinator, Wei(used.rewards.pool_wei))
    joins = [(a, calls.join(Wei(used.stake.minimum_wei))) for a in identities.contributors]
    federation.send_batch(federation.prepare_all(joins))

    def wait_until(timestamp: int) -> None:
        # Two blocks of anvil may have the same time, so the head itself must reach it.
        if rpc.block().timestamp < timestamp:
            rpc.request("evm_setNextBlockTimestamp", hex(timestamp))
            rpc.request("evm_mine")

    ledger = WaitingLedger(federation, coordinator, wait_until, lambda: next_time(rpc))
    return RemoteChain(federation, referee, ledger, identities, wait_until)


# --- the federation -----------------------------------------------------------------------------


@dataclass
class FraudBench:
    """A run in progress; ``notices`` are the watcher's reports."""

    used: Experiment
    chain: Any
    folder: Path
    public: DiskStore
    service: RoundService
    disputes: SimulatedDisputes
    attacker: Attacker
    attempts: FileJournal
    notices: list[Notice] = field(default_factory=list)

    def play(self, *, watched: bool = True) -> RoundOutcome:
        """Run one round, and let the watcher check it if ``watched``."""
        announced = self.service.open_round()
        number = int(announced.round_id)
        if announced.sealed:
            for client in range(CONTRIBUTORS):
                self.service.commit(self._commitment(announced, client))
            self.service.close_commitments()
        for client in range(CONTRIBUTORS):
            vector, examples = update_of(number, client), 10 + 7 * client
            metrics = {"loss": 0.5, "num-examples": examples}
            message = UpdateMessage(
                announced.round_id,
                announced.model_root,
                parameter_root(vector, MANIFEST),
                examples,
                metrics_hash(metrics),
            )
            key = private_key(self.used.seed, f"contributor {client}")
            signed = sign_statement(announced.domain, message, key)
            self.service.submit(signed, vector, metrics, SALT)
        outcome = self.service.close_round()
        if watched:
            self.disputes.run_watchers()
        return outcome

    def _commitment(self, announced: RoundAnnouncement, client: int) -> Signed[Commitment]:
        key = private_key(self.used.seed, f"contributor {client}")
        update = parameter_root(update_of(int(announced.round_id), client), MANIFEST)
        digest = sealed_commitment(
            announced.domain, announced.round_id, address_of_key(key), SALT, update
        )
        return sign_statement(announced.domain, Commitment(announced.round_id, digest), key)

    def watcher(self, account: Any = None, **options: Any) -> Watcher:
        """Return a watcher of the same chain and store; ``account`` is by default the run's."""
        sender = self.chain.identities.watcher if account is None else account
        return Watcher(
            self.chain.federation,
            self.chain.referee,
            self.public,
            sender,
            self.notices.append,
            WatchOptions(**options),
        )

    def said(self, verb: str) -> list[str]:
        return [notice.text for notice in self.notices if notice.verb == verb]

    def statuses(self) -> list[str]:
        last = self.chain.ledger.head().last_opened
        return [self.chain.ledger.round(RoundId(n)).status.word for n in range(1, last + 1)]

    def reason(self, number: int) -> str:
        return self.chain.ledger.void_reason(RoundId(number))

    @property
    def bond_wei(self) -> int:
        coordinator = Address(self.chain.identities.coordinator.address)
        return int(self.chain.federation.account(coordinator).bond_wei)

    def balance(self, account: Any) -> int:
        return self.chain.federation.rpc.quantity("eth_getBalance", account.address, "latest")

    def roots(self) -> tuple[bytes, bytes, bytes]:
        """Model, contributors and rewards after the last round."""
        last = self.chain.ledger.round(self.chain.ledger.head().last_settled)
        return last.new_model_root, last.contributors_root, last.rewards_root


@contextmanager
def fraud_bench(used: Experiment, folder: Path, anvil_url: str = "") -> Iterator[FraudBench]:
    """Open a bench on the embedded chain in memory, or on a fresh anvil."""
    root = parameter_root(INITIAL, MANIFEST)
    if anvil_url:
        yield from _bench(used, folder, open_on_anvil(anvil_url, used, root))
        return
    with open_chain(used, identities_of(used), None, root) as chain:
        yield from _bench(used, folder, chain)


def _bench(used: Experiment, folder: Path, chain: SimulatedChain | RemoteChain) -> Iterator[Any]:
    identities = chain.identities
    attacker = Attacker.of(
        used.coordinator_attacks, identities.addresses, Address(identities.coordinator.address)
    )
    store = WithholdingStore(folder / "blobs", folder / "withheld")
    public = DiskStore(folder / "blobs", read_only=True)
    attempts = FileJournal(folder / "attempts")
    limits, sealed = UpdateLimits(max_bytes=4 * D), used.cohort.sealed
    plan = FederationPlan(MANIFEST, rule_of(used), 600, limits, sealed=sealed)
    publish_plan(store, plan, INITIAL)
    store.put_bytes(canonical_json(SCORING))
    store.sync()
    ledger = InsistentLedger(
        chain.federation,
        identities.coordinator,
        chain.ledger,
        attacker,
        attempts,
        chain.ledger.now,
    )
    journal = FileJournal(folder / "rounds")
    service = DishonestService(
        ledger, store, journal, RuleScorer("examples"), plan, attacker=attacker
    )
    notices: list[Notice] = []
    disputes = SimulatedDisputes(chain, public, used.watcher, attacker, notices.append)  # type: ignore[arg-type]
    yield FraudBench(used, chain, folder, public, service, disputes, attacker, attempts, notices)
    store.close()
    public.close()
