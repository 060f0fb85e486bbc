"""A small federation over in-memory ports, and ClientApps for it, for tests of the Flower side.

The ClientApp factories are named by ``flower_bench:...`` so that worker processes import them.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

import coordinator.flower.environment  # noqa: F401

# isort: split
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from memory_ledger import CONTRACT, MemoryJournal, MemoryLedger, MemoryStore

from clients.mod.chain_view import ChainView
from clients.mod.journal import MemoryJournal as SignatureMemory
from clients.mod.signer import KeySigner
from clients.mod.verifiable_updates import Participant, VerifiableUpdates, no_queries
from coordinator.flower.internals import identify_process
from coordinator.protocol.numbers.fixed_point import quantise
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.types import Rule, SigningDomain, UpdateLimits, Wei
from coordinator.service.archive import publish_plan
from coordinator.service.plan import FederationPlan
from coordinator.service.round_service import RoundService
from coordinator.service.scorers import RuleScorer, scoring_digest, scoring_document
from coordinator.stores.instructions import MemoryInstructions
from simulations.engines.ledger_view import LedgerChainView
from simulations.engines.worker import parent_chain_view
from simulations.run.identities import private_key

CLIENTS = 4
EXAMPLES_CAP = 100
DOMAIN = SigningDomain(1337, CONTRACT)
INITIAL = {
    "layer.weight": np.arange(6, dtype=np.float32).reshape(2, 3) / 4,
    "layer.bias": np.array([-1.0, 0.5], np.float32),
}
MANIFEST = Manifest.of(INITIAL, chunk_values=4)


def initial_arrays() -> ArrayRecord:
    return ArrayRecord({name: Array(values) for name, values in INITIAL.items()})


def signer(client: int) -> KeySigner:
    return KeySigner(private_key(0, f"contributor {client}"))


@dataclass
class FlowerBench:
    """A federation of ``clients`` bonded contributors behind a real ``RoundService``."""

    ledger: MemoryLedger
    store: MemoryStore
    journal: MemoryJournal
    plan: FederationPlan
    instructions: MemoryInstructions = field(default_factory=MemoryInstructions)

    def __post_init__(self) -> None:
        self.restarted()

    def restarted(self) -> RoundService:
        """Replace the service by a new one, as after a crash."""
        self.service = RoundService(
            self.ledger,
            self.store,
            self.journal,
            RuleScorer("examples"),
            self.plan,
            instructions=self.instructions,
        )
        return self.service

    @property
    def chain_view(self) -> ChainView:
        return LedgerChainView(self.ledger)

    def refusals(self, round_id: int) -> dict[str, str]:
        """Return sender to code of a decided round."""
        rows = self.journal.entries[round_id]["refusals"]
        return {row["sender"]: row["code"] for row in rows}


def make_bench(
    *,
    clients: int = CLIENTS,
    manifest: Manifest = MANIFEST,
    initial: dict | None = None,
    sealed: bool = False,
    **changes: int,
) -> FlowerBench:
    model = quantise(INITIAL if initial is None else initial, manifest)
    scoring = scoring_document("examples")
    fields = {
        "version": 1,
        "kind": 1,
        "weighting": 1,
        "num_byzantine": 0,
        "examples_cap": EXAMPLES_CAP,
        "server_lr_q16": 1 << 16,
        "server_momentum_q16": 0,
        "manifest_hash": manifest.digest(),
        "dimension": manifest.dimension,
        "chunk_values": manifest.chunk_values,
        "scale_bits": manifest.scale_bits,
        "min_contributors": 2,
        "norm_bound_q": 0,
        "scoring_hash": scoring_digest(scoring),
        **changes,
    }
    rule = Rule(**fields)
    limits = UpdateLimits(max_bytes=4 * manifest.dimension)
    plan = FederationPlan(manifest, rule, 3600, limits, sealed=sealed)
    store, journal = MemoryStore(), MemoryJournal()
    root = publish_plan(store, plan, model)
    bonds = {signer(i).address: Wei(10**18) for i in range(clients)}
    ledger = MemoryLedger(root, bonds, DOMAIN, Wei(1000), Wei(9000), min_contributors=2)
    return FlowerBench(ledger, store, journal, plan)


# --- ClientApps ------------------------------------------------------------------------------


def plus_client(arrays: ArrayRecord, client: int) -> ArrayRecord:
    """Train: add ``(client + 1) / 8`` to every parameter, exact in fixed point."""
    step = np.float32((client + 1) / 8)
    values = {name: array.numpy() for name, array in arrays.items()}
    trained = {n: v + step if v.dtype.kind == "f" else np.asarray(v + 1) for n, v in values.items()}
    return ArrayRecord({name: Array(value) for name, value in trained.items()})


def plain_reply(message: Message, context: Context) -> Message:
    client = int(context.node_config["client"])
    metrics = MetricRecord({"num-examples": 10 * (client + 1), "loss": 0.25})
    trained = plus_client(message.content.array_records["arrays"], client)
    return Message(RecordDict({"arrays": trained, "metrics": metrics}), reply_to=message)


def evaluate_reply(message: Message, context: Context) -> Message:
    total = sum(float(a.numpy().sum()) for a in message.content.array_records["arrays"].values())
    metrics = MetricRecord({"num-examples": 5, "total": total})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


def app_with(mods: list) -> ClientApp:
    app = ClientApp(mods=mods)
    app.train()(plain_reply)
    app.evaluate()(evaluate_reply)
    app.query()(no_queries)
    return app


def pooled_app() -> ClientApp:
    """The app with the mod, in a worker: reads the chain through the pool's main process."""
    view = parent_chain_view()

    def who(context: Context) -> Participant:
        return Participant(signer(int(context.node_config["client"])), view, SignatureMemory())

    return app_with([VerifiableUpdates(who)])


def misbehaving_app() -> ClientApp:
    """An app that fails as the train config says: ``conduct`` is how, ``victim`` which client."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        config = message.content.config_records["config"]
        client = int(context.node_config["client"])
        state = context.state.metric_records.get("seen", MetricRecord({"count": 0}))
        count = int(state["count"]) + 1
        context.state["seen"] = MetricRecord({"count": count})
        if config.get("victim") == client:
            if config["conduct"] == "die":
                os.kill(os.getpid(), 9)
            if config["conduct"] == "exit":
                os._exit(3)
            if config["conduct"] == "hang":
                time.sleep(600)
            if config["conduct"] == "raise":
                raise ValueError("no data\nhere")
        drawn = float(np.random.rand())
        arrays = plus_client(message.content.array_records["arrays"], client)
        metrics = MetricRecord({"num-examples": 1, "count": count, "drawn": drawn})
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    return app


def broken_factory() -> ClientApp:
    raise RuntimeError("no such data set")


# --- a grid in this process -------------------------------------------------------------------

Deliver = Callable[[Message, Callable[[Message], Message]], Iterable[Message]]


def deliver_honestly(message: Message, answer: Callable[[Message], Message]) -> Iterable[Message]:
    return [answer(message)]


class LocalGrid(Grid):
    """Runs the apps in this process; ``deliver`` decides which replies a message gets."""

    def __init__(self, apps: dict[int, ClientApp], deliver: Deliver = deliver_honestly) -> None:
        identify_process(1)
        self.apps, self.deliver = apps, deliver
        self.contexts = {
            node: Context(1, node, {"client": node - 2}, RecordDict(), {}) for node in apps
        }
        self.sent: list[Message] = []

    def set_run(self, run: Run) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Run:
        return Run.create_empty(1)

    def create_message(self, content, message_type, dst_node_id, group_id, ttl=None):  # type: ignore[no-untyped-def]
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        return list(self.apps)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise NotImplementedError

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        kept = list(messages)
        for number, message in enumerate(kept, start=len(self.sent)):
            vars(message.metadata)["_message_id"] = f"m{number}"
        self.sent.extend(kept)
        return self._stream(kept)

    def _stream(self, messages: list[Message]) -> Iterator[Message]:
        for message in messages:
            yield from self.deliver(message, self.answer)

    def answer(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        copy = Message(message.content, reply_to=message)  # the app may change its message
        vars(copy)["_metadata"] = message.metadata
        return self.apps[node](copy, self.contexts[node])


def local_apps(bench: FlowerBench, clients: int = CLIENTS) -> dict[int, ClientApp]:
    return {
        client + 2: app_with(
            [VerifiableUpdates(Participant(signer(client), bench.chain_view, SignatureMemory()))]
        )
        for client in range(clients)
    }
