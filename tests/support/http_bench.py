"""A small federation whose coordinator serves over HTTP: on the embedded chain, or on anvil."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from service_bench import INITIAL, MANIFEST, SCORING, rule, vector
from web3 import Web3

from contracts.binding.federation import Federation
from contracts.binding.http_provider import web3_at
from contracts.binding.records import Terms
from contracts.binding.rpc import rpc_of
from contracts.node.genesis import GenesisConfig
from contracts.node.node import EmbeddedNode
from contracts.node.provider import EmbeddedProvider
from contracts.node.rpc import Dispatcher
from coordinator.http.http_context import HttpContext
from coordinator.http.snapshot import ServiceSnapshot
from coordinator.ledger.contract_ledger import ChainLedger
from coordinator.ledger.deployment import Deployment, contract_address, deploy_federation
from coordinator.ports import RoundAnnouncement, RoundOutcome
from coordinator.protocol.canonical import parse_json
from coordinator.protocol.commitments.digests import canonical_json, metrics_hash
from coordinator.protocol.commitments.documents import rule_document
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.round.evaluation import (
    Claim,
    EvaluationSummary,
    PublicResult,
    evaluation_document,
    summarise,
)
from coordinator.protocol.signatures.eip712 import sign_statement
from coordinator.protocol.types import (
    Address,
    JsonObject,
    RoundId,
    Rule,
    UpdateLimits,
    UpdateMessage,
    Wei,
)
from coordinator.service.archive import publish_plan
from coordinator.service.plan import FederationPlan
from coordinator.service.round_service import RoundService
from coordinator.service.scorers import RuleScorer
from coordinator.settings.agreement import FederationAgreement
from coordinator.settings.evaluation import Evaluation
from coordinator.stores.disk import DiskStore
from coordinator.stores.evaluations import EVALUATIONS, EvaluationFolder
from coordinator.stores.run_folder import FileJournal

ETHER = 10**18
COORDINATOR: LocalAccount = Account.from_key(b"\xc0" * 32)
CONTRIBUTORS: list[LocalAccount] = [Account.from_key(bytes([n]) * 32) for n in (1, 2, 3)]
NEWCOMER: LocalAccount = Account.from_key(b"\x0a" * 32)
"""Has money, and has not joined."""
STAKE = Wei(2 * ETHER)
BUDGET = Wei(3 * ETHER)
POOL = Wei(30 * ETHER)
UNBONDING_S = 7200
EXAMPLES = (10, 20, 30)
USED: Rule = rule(min_contributors=2)


def save_key(path: Path, account: LocalAccount, password: str) -> Path:
    """Write a key file that opens fast: the tests are not about scrypt."""
    cheap = Account.encrypt(account.key, password, kdf="pbkdf2", iterations=10)
    path.write_text(json.dumps(cheap))
    path.chmod(0o600)
    return path


def agreement_of(
    access: str = "public", evaluation: Evaluation | None = None
) -> FederationAgreement:
    manifest: Any = parse_json(MANIFEST.to_json(), "manifest")
    return FederationAgreement.model_validate(
        {
            "name": "bench",
            "chain_id": 1337,
            "contract": contract_address(Address(COORDINATOR.address)),
            "initial_model_root": parameter_root(INITIAL, MANIFEST).hex(),
            "manifest": manifest,
            "rule": rule_document(USED),
            "scoring": SCORING,
            "access": access,
            "round_duration_s": 3600,
            "evaluation": evaluation,
        }
    )


def deployment_of(agreement: FederationAgreement, **changes: Any) -> Deployment:
    terms: dict[str, Any] = {
        "coordinator": Address(COORDINATOR.address),
        "initial_model_root": bytes.fromhex(agreement.initial_model_root),
        "config_digest": agreement.digest,
        "min_stake_wei": Wei(ETHER),
        "min_coordinator_bond_wei": Wei(ETHER),
        "round_budget_wei": BUDGET,
        "min_contributors": 2,
        "min_open_s": 0,
        "challenge_window_s": 0,
        "unbonding_period_s": UNBONDING_S,
        "contributor_slash_bps": 5000,
        "coordinator_slash_bps": 5000,
    }
    return Deployment(Terms(**{**terms, **changes}), Wei(ETHER // 100), 600, Wei(5 * ETHER), POOL)


@dataclass
class HttpBench:
    """The federation. ``node`` and ``dispatcher`` are ``None`` on anvil."""

    agreement: FederationAgreement
    federation: Federation
    service: RoundService
    store: DiskStore
    node: EmbeddedNode | None = None
    dispatcher: Dispatcher | None = None
    snapshot: ServiceSnapshot = field(default_factory=lambda: ServiceSnapshot("waiting"))
    open: RoundAnnouncement | None = None
    evaluations: EvaluationFolder | None = None

    def context(self, **changes: Any) -> HttpContext:
        fields: dict[str, Any] = {
            "agreement": self.agreement,
            "federation": self.federation,
            "store": self.store,
            "status": lambda: self.snapshot,
            "dispatcher": self.dispatcher,
            "evaluations": self.evaluations,
        }
        return HttpContext(**{**fields, **changes})

    def begin(self) -> RoundAnnouncement:
        """Open a round and submit everybody's update, but do not close it."""
        opened = self.open = self.service.open_round()
        for number, account in enumerate(CONTRIBUTORS):
            self.submit(account, value=self.value(number), examples=EXAMPLES[number])
        self.store.sync()
        return opened

    def value(self, number: int) -> int:
        assert self.open is not None
        return 100 * int(self.open.round_id) + 7 * number

    def submit(self, account: LocalAccount, *, value: int, examples: int) -> bytes:
        """Submit one update; return its root."""
        assert self.open is not None
        update, metrics = vector(value), {"loss": 0.5, "num-examples": examples}
        message = UpdateMessage(
            self.open.round_id,
            self.open.model_root,
            parameter_root(update, MANIFEST),
            examples,
            metrics_hash(metrics),
        )
        signed = sign_statement(self.open.domain, message, bytes(account.key))
        fields: JsonObject = metrics
        self.service.submit(signed, update, fields)
        return message.update

    def play(self) -> RoundOutcome:
        """Play a whole round; with no challenge window it is final at once."""
        self.begin()
        return self.service.close_round()

    def evaluate(self, number: int, *accuracies: float) -> EvaluationSummary:
        """Keep an evaluation of a sealed round: an accuracy of each contributor, one silent."""
        assert self.evaluations is not None
        claims = {
            Address(account.address): Claim(10, {"accuracy": value, "loss": 2 * value})
            for account, value in zip(CONTRIBUTORS, accuracies, strict=False)
        }
        root = self.round(number).new_model_root
        public = PublicResult(8, 6, 0.5) if number == 1 else None
        summary = summarise(RoundId(number), root, claims, ["no-reply"], 100, public)
        self.evaluations.put(summary, evaluation_document(summary, claims, {}))
        return summary

    def update_root(self, number: int) -> bytes:
        """The root of a contributor's update in the round begun last."""
        return parameter_root(vector(self.value(number)), MANIFEST)

    def round(self, number: int) -> Any:
        return self.federation.round(RoundId(number))

    def pass_time(self, seconds: int) -> None:
        if self.node is not None:
            self.node.mine(timestamp=self.node.head.timestamp + seconds)
            return
        self.federation.rpc.request("evm_increaseTime", hex(seconds))
        self.federation.rpc.request("evm_mine")


def _bench(
    w3: Web3,
    folder: Path,
    access: str,
    node: EmbeddedNode | None,
    evaluation: Evaluation | None = None,
    **terms: Any,
) -> Iterator[HttpBench]:
    agreement = agreement_of(access, evaluation)
    federation = deploy_federation(w3, COORDINATOR, deployment_of(agreement, **terms))
    for account in CONTRIBUTORS:
        federation.join(account, STAKE)
    store = DiskStore(folder / "blobs")
    plan = FederationPlan(MANIFEST, USED, 3600, UpdateLimits(max_bytes=4 * 17))
    publish_plan(store, plan, INITIAL)
    store.put_bytes(canonical_json(SCORING))
    store.sync()
    next_time = None if node is None else (lambda: node.next_timestamp)
    ledger = ChainLedger(federation, COORDINATOR, next_time=next_time)
    journal = FileJournal(folder / "rounds")
    service = RoundService(ledger, store, journal, RuleScorer("examples"), plan)
    made = HttpBench(agreement, federation, service, store, node)
    if evaluation is not None:
        made.evaluations = EvaluationFolder(folder / EVALUATIONS)
    yield made
    store.close()


@contextmanager
def embedded_bench(
    folder: Path,
    access: str = "public",
    *,
    chain: Path | None = None,
    evaluation: Evaluation | None = None,
    **terms: Any,
) -> Iterator[HttpBench]:
    """On the embedded chain, in memory or in a file: a second a block."""
    people = [COORDINATOR, *CONTRIBUTORS, NEWCOMER]
    alloc = {Address(one.address): Wei(100 * ETHER) for one in people}
    if chain is not None:
        chain.parent.mkdir(parents=True)
    with EmbeddedNode.create_or_open(chain, GenesisConfig(alloc=alloc)) as node:
        dispatcher = Dispatcher(node)
        w3 = Web3(EmbeddedProvider(dispatcher))
        for bench in _bench(w3, folder, access, node, evaluation, **terms):
            bench.dispatcher = dispatcher
            yield bench
        dispatcher.close()


@contextmanager
def anvil_bench(url: str, folder: Path, access: str = "public") -> Iterator[HttpBench]:
    """On a fresh anvil at ``url``."""
    w3 = web3_at(url)
    for account in (COORDINATOR, *CONTRIBUTORS, NEWCOMER):
        rpc_of(w3).request("anvil_setBalance", account.address, hex(100 * ETHER))
    yield from _bench(w3, folder, access, None)
