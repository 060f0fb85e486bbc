"""The simulated contributors: one ClientApp that plays each of them, honest or not.

Which contributor a message is for is in Flower's node configuration. An equivocating
contributor is two nodes with one key: both train, both sign, and their updates differ. The
misbehaviours act in the signing mod, where a real attacker would: the app inside is honest.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import clients.flower_env  # noqa: F401  (before flwr)

# isort: split
import numpy as np
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

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
from coordinator.core.errors import ConfigError
from coordinator.core.types import Int32Vector, JsonObject, UpdateMessage
from simulations.behaviours import Behaviour, Reply, UpdateContext, behaviour_of, copy_source
from simulations.cohort import CLIENT, PUBLIC_UPDATES, SHADOW
from simulations.data import load_dataset
from simulations.engines.silence import silent_reply
from simulations.engines.worker import parent_chain_view
from simulations.identities import private_key
from simulations.models import build_model, training_settings
from simulations.plan import agree
from simulations.schema import Experiment
from simulations.seeds import generator, integer_seed

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


def make_client_app(spec: SimulationSpec) -> ClientApp:
    """Build the ClientApp that plays all contributors, its mod outermost."""
    return _app_of(LocalContributor(spec, skips_training=True), [SimulatedUpdates(spec)])


def make_plain_client_app(spec: SimulationSpec) -> ClientApp:
    """Build the same ClientApp without the mod: what is left for plain Flower strategies."""
    return _app_of(LocalContributor(spec), [])


def _app_of(contributor: "LocalContributor", mods: list[VerifiableUpdates]) -> ClientApp:
    app = ClientApp(mods=list(mods))
    app.train()(contributor.train)
    app.evaluate()(contributor.evaluate)
    return app


class LocalContributor:
    """Trains and evaluates for whichever contributor a message's node configuration names.

    Parameters
    ----------
    skips_training
        Whether contributors that need no training (free riders) skip it.
    """

    def __init__(self, spec: SimulationSpec, *, skips_training: bool = False) -> None:
        use_one_thread()
        self._experiment = experiment = spec.experiment
        dataset = load_dataset(experiment.data, spec.data_folder, experiment.seed)
        agreement = agree(experiment, dataset)
        self._dataset, self._shares = agreement.dataset, agreement.shares
        self._model = build_model(
            experiment.model,
            self._dataset.input_shape,
            self._dataset.num_classes,
            experiment.seed,
        )
        self._settings = training_settings(experiment.training)
        self._skips_training = skips_training

    def train(self, message: Message, context: Context) -> Message:
        """Return the trained model and the metrics of its training."""
        client, round_id = client_of(context), _round_of(message)
        x, y = self._data(client)
        metrics = MetricRecord({"num-examples": len(y)})
        arrays = message.content.array_records["arrays"]
        behaviour = behaviour_of(self._experiment.behaviours, client, round_id)
        if behaviour.trains or not self._skips_training:
            self._model.load_state_dict(arrays.to_torch_state_dict())
            seed = integer_seed(self._experiment.seed, "training", round_id, client)
            metrics["train-loss"] = train(self._model, x, y, self._settings, seed).loss
            arrays = ArrayRecord(self._model.state_dict())
        content = RecordDict({"arrays": arrays, "metrics": metrics})
        return Message(content, reply_to=message)

    def evaluate(self, message: Message, context: Context) -> Message:
        """Return loss and accuracy of the model on the contributor's own data."""
        x, y = self._data(client_of(context))
        arrays = message.content.array_records["arrays"]
        self._model.load_state_dict(arrays.to_torch_state_dict())
        loss, correct = evaluate(self._model, x, y)
        metrics = MetricRecord(
            {"num-examples": len(y), "eval-loss": loss, "eval-accuracy": correct / len(y)}
        )
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    def _data(self, client: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        indices = self._shares.indices[client]
        return self._dataset.train_x[indices], self._dataset.train_y[indices]


def client_of(context: Context) -> int:
    """Return the number of the contributor that a node plays.

    Raises
    ------
    ConfigError
        If its configuration does not say.
    """
    client = context.node_config.get(CLIENT)
    if type(client) is not int or client < 0:
        raise ConfigError(f"node config: {CLIENT} is {client!r}, expected a number from 0")
    return client


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
        client, is_shadow = client_of(context), bool(context.node_config[SHADOW])
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
