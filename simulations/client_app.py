"""The simulated contributors: one ClientApp that plays each of them, honest or not.

Which contributor a message is for is in Flower's node configuration. An equivocating
contributor is two nodes with one key: both train, both sign, and their updates differ. The
misbehaviours act in the signing mod, where a real attacker would: the app inside is honest.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import clients.flower_env  # noqa: F401  (before flwr)

# isort: split
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Message,
    MetricRecord,
    RecordDict,
    UserConfig,
)
from flwr.clientapp import ClientApp

from clients.chain_view import CachedChainView
from clients.instruction import Instruction, VerifiedModel
from clients.journal import MemoryJournal
from clients.mods import Participant, VerifiableUpdates
from clients.reply import read_metrics, statement_record
from clients.signer import KeySigner
from clients.training import evaluate, train, use_one_thread
from coordinator.adapters.store import DiskStore
from coordinator.core import wire
from coordinator.core.commitment import metrics_hash
from coordinator.core.documents import contributor_entries
from coordinator.core.types import Address, Int32Vector, JsonObject, RoundId, UpdateMessage
from coordinator.ports import ArtifactStore, Ledger, RoundAnnouncement
from simulations.behaviours import Behaviour, Reply, UpdateContext, behaviour_of, copy_source
from simulations.data import load_dataset
from simulations.engines.silence import silent_reply
from simulations.engines.worker import parent_chain_view
from simulations.identities import private_key
from simulations.models import build_model, training_settings
from simulations.plan import agree
from simulations.schema import Experiment
from simulations.seeds import generator, integer_seed

CLIENT, SHADOW = "client", "shadow"
PUBLIC_UPDATES = "public-updates"
FIRST_NODE = 2
FACTORY = "simulations.client_app:make_client_app"
PLAIN_FACTORY = "simulations.client_app:make_plain_client_app"


@dataclass(frozen=True)
class SimulationSpec:
    """What a worker needs to play the contributors of an experiment.

    ``artifacts`` is the folder of the run's store, from which copying contributors take other
    people's public updates.
    """

    experiment: Experiment
    data_folder: Path | None = None
    artifacts: Path | None = None


def node_configs(experiment: Experiment) -> dict[int, UserConfig]:
    """Return the nodes of an experiment: client ``i`` is node ``i + 2``, its shadow comes after.

    Node 1 is Flower's server. Shadows are the second nodes of equivocating contributors.
    """
    clients = range(experiment.partition.clients)
    nodes: dict[int, UserConfig] = {
        client + FIRST_NODE: {CLIENT: client, SHADOW: False} for client in clients
    }
    for client in clients:
        if behaviour_of(experiment.behaviours, client).label == "equivocate":
            nodes[len(nodes) + FIRST_NODE] = {CLIENT: client, SHADOW: True}
    return nodes


def cohort_sampler(experiment: Experiment, nodes: Mapping[int, UserConfig]) -> "CohortSampler":
    """Return the sampler that draws ``cohort.size`` contributors a round, shadows with them."""
    return CohortSampler(experiment.seed, experiment.cohort.size, nodes)


@dataclass(frozen=True)
class CohortSampler:
    """Draws contributors, not nodes; the same seed and round give the same cohort."""

    seed: int
    size: int
    nodes: Mapping[int, UserConfig]

    def __call__(self, round_id: RoundId, available: Sequence[int]) -> list[int]:
        """Return the nodes of the cohort, ascending."""
        clients = sorted({int(self.nodes[node][CLIENT]) for node in available})
        rng = generator(self.seed, "cohort", int(round_id))
        size = min(self.size, len(clients))
        chosen = {clients[i] for i in rng.choice(len(clients), size=size, replace=False)}
        return sorted(node for node in available if self.nodes[node][CLIENT] in chosen)


def public_updates(
    announcement: RoundAnnouncement,
    ledger: Ledger,
    store: ArtifactStore,
    addresses: Sequence[Address],
) -> dict[str, str]:
    """Return a round's config of what anyone can read: the updates of the round below.

    For ``FedproofStrategy(round_config=...)``. ``addresses`` are the contributors', by client.
    """
    parent = ledger.round(announcement.round_id).parent
    roots: dict[str, str] = {}
    if parent:
        root = ledger.round(parent).contributors_root
        clients = {address: client for client, address in enumerate(addresses)}
        for entry in contributor_entries(store.get_document("contributors", root)):
            roots[str(clients[entry.leaf.contributor])] = entry.leaf.update_root.hex()
    return {PUBLIC_UPDATES: json.dumps(roots, sort_keys=True)}


def make_client_app(spec: SimulationSpec) -> ClientApp:
    """Build the ClientApp that plays all contributors, its mod outermost."""
    return _honest_app(spec, [SimulatedUpdates(spec)])


def make_plain_client_app(spec: SimulationSpec) -> ClientApp:
    """Build the same ClientApp without the mod: what is left for plain Flower strategies."""
    return _honest_app(spec, [])


def _honest_app(spec: SimulationSpec, mods: list[VerifiableUpdates]) -> ClientApp:
    use_one_thread()
    experiment = spec.experiment
    agreement = agree(experiment, load_dataset(experiment.data, spec.data_folder, experiment.seed))
    dataset, shares = agreement.dataset, agreement.shares
    model = build_model(experiment.model, dataset.input_shape, dataset.num_classes, experiment.seed)
    settings = training_settings(experiment.training)
    app = ClientApp(mods=list(mods))

    @app.train()
    def _train(message: Message, context: Context) -> Message:
        client = int(context.node_config[CLIENT])
        round_id = _round_of(message)
        indices = shares.indices[client]
        behaviour = behaviour_of(experiment.behaviours, client, round_id)
        metrics = MetricRecord({"num-examples": len(indices)})
        arrays = message.content.array_records["arrays"]
        if behaviour.trains or not mods:
            model.load_state_dict(arrays.to_torch_state_dict())
            seed = integer_seed(experiment.seed, "training", round_id, client)
            result = train(
                model, dataset.train_x[indices], dataset.train_y[indices], settings, seed
            )
            metrics["train-loss"] = result.loss
            arrays = ArrayRecord(model.state_dict())
        content = RecordDict({"arrays": arrays, "metrics": metrics})
        return Message(content, reply_to=message)

    @app.evaluate()
    def _evaluate(message: Message, context: Context) -> Message:
        indices = shares.indices[int(context.node_config[CLIENT])]
        model.load_state_dict(message.content.array_records["arrays"].to_torch_state_dict())
        loss, correct = evaluate(model, dataset.train_x[indices], dataset.train_y[indices])
        count = len(indices)
        metrics = MetricRecord(
            {"num-examples": count, "eval-loss": loss, "eval-accuracy": correct / count}
        )
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    return app


def _round_of(message: Message) -> int:
    """Return the round from the message's group; plain strategies only put it in the config."""
    if message.metadata.group_id:
        return int(message.metadata.group_id)
    return int(str(message.content.config_records["config"]["server-round"]))


class SimulatedUpdates(VerifiableUpdates):
    """The signing mod of simulated contributors: misbehaves as the experiment says."""

    def __init__(self, spec: SimulationSpec) -> None:
        self._view = CachedChainView(parent_chain_view())
        self._spec = spec
        super().__init__(self._participant_of)

    def _participant_of(self, context: Context) -> Participant:
        key = private_key(self._spec.experiment.seed, f"contributor {context.node_config[CLIENT]}")
        # a journal of its own: the two nodes of an equivocator must not know of each other
        return Participant(KeySigner(key), self._view, MemoryJournal())

    def _signed_reply(
        self,
        content: RecordDict,
        instruction: Instruction,
        model: VerifiedModel,
        participant: Participant,
        context: Context,
    ) -> RecordDict:
        client, is_shadow = int(context.node_config[CLIENT]), bool(context.node_config[SHADOW])
        experiment = self._spec.experiment
        behaviour = behaviour_of(experiment.behaviours, client, int(instruction.round_id))
        if behaviour.label == "honest" and not is_shadow:
            return super()._signed_reply(content, instruction, model, participant, context)
        update = self._misshape(
            behaviour, self._update(content, instruction, model), client, instruction
        )
        if is_shadow:
            second = behaviour.second_update(update)
            if second is None:  # not yet equivocating: the shadow repeats its principal
                second = update
            update = second
        return self._misbehaved_reply(behaviour, content, update, instruction, model, participant)

    def _misshape(
        self, behaviour: Behaviour, update: Int32Vector, client: int, instruction: Instruction
    ) -> Int32Vector:
        rng = generator(self._spec.experiment.seed, "behaviour", int(instruction.round_id), client)
        copied = self._copied(client, instruction) if behaviour.copies else None
        return behaviour.shape_update(update, UpdateContext(rng, copied))

    def _copied(self, client: int, instruction: Instruction) -> Int32Vector | None:
        """Return the update of the round below that a copying contributor passes off as its own."""
        roots: dict[str, str] = json.loads(str(instruction.config.get(PUBLIC_UPDATES, "{}")))
        source = copy_source(client, [int(other) for other in roots])
        if source is None or self._spec.artifacts is None:
            return None
        store = DiskStore(self._spec.artifacts, read_only=True)
        return store.get_vector(bytes.fromhex(roots[str(source)]), instruction.manifest)

    def _misbehaved_reply(
        self,
        behaviour: Behaviour,
        content: RecordDict,
        update: Int32Vector,
        instruction: Instruction,
        model: VerifiedModel,
        participant: Participant,
    ) -> RecordDict:
        metrics_name, metrics = read_metrics(content)
        statement = behaviour.shape_message(
            UpdateMessage(
                round_id=instruction.round_id,
                base_model=model.root,
                update=self._root(update, instruction),
                examples=int(metrics[wire.EXAMPLES_METRIC]),
                metrics_hash=metrics_hash(metrics),
            )
        )
        if statement.examples != metrics[wire.EXAMPLES_METRIC]:
            metrics = {**metrics, wire.EXAMPLES_METRIC: statement.examples}
            statement = replace(statement, metrics_hash=metrics_hash(metrics))
        signed = participant.signer.sign(participant.chain_view.domain, statement)
        sent = behaviour.corrupt_reply(Reply(update, signed.signature))
        if sent is None:
            return silent_reply()
        return _records(
            sent, metrics_name, metrics, statement_record(replace(signed, signature=sent.signature))
        )


def _records(
    sent: Reply, metrics_name: str, metrics: JsonObject, statement: ConfigRecord
) -> RecordDict:
    vector = sent.vector
    array = Array(str(vector.dtype), vector.shape, "numpy.ndarray", wire.encode_npy(vector))
    return RecordDict(
        {
            wire.ARRAYS_RECORD: ArrayRecord({wire.UPDATE_ARRAY: array}),
            metrics_name: MetricRecord(dict(metrics)),
            wire.STATEMENT_RECORD: statement,
        }
    )


__all__ = [
    "FACTORY",
    "PLAIN_FACTORY",
    "CohortSampler",
    "SimulatedUpdates",
    "SimulationSpec",
    "cohort_sampler",
    "make_client_app",
    "make_plain_client_app",
    "node_configs",
    "public_updates",
]
