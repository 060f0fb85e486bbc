"""The simulated contributors: one ClientApp that runs as each of them, honest or not.

Flower's node configuration names the contributor that a message is for. An equivocating
contributor is two nodes with one key: both train, both sign, and their updates differ. Attacks run
in the signing mod (:mod:`simulations.run.client_mod`), as a real attacker's would (ADR 64); the app
itself is honest, except for attacks on the training data.
"""

# isort: split
import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from numpy.typing import NDArray

from clients.mod.verifiable_updates import VerifiableUpdates, no_queries
from clients.training.trainer import evaluate, train, use_one_thread
from coordinator.protocol.types import RoundId
from simulations.attacks.contributor import LocalData
from simulations.data import load_dataset
from simulations.engines.spec import SimulationSpec
from simulations.experiment.models import build_model, training_settings
from simulations.run.agreement import agree
from simulations.run.client_mod import SimulatedUpdates
from simulations.run.cohort import Attackers, client_of
from simulations.seeds import integer_seed

FACTORY = "simulations.run.client_app:make_client_app"
PLAIN_FACTORY = "simulations.run.client_app:make_plain_client_app"


def make_client_app(spec: SimulationSpec) -> ClientApp:
    """Build the ClientApp of all contributors, with the signing mod."""
    contributor = LocalContributor(spec, skips_training=True)
    return _app_of(contributor, [SimulatedUpdates(spec, contributor.train_honestly)])


def make_plain_client_app(spec: SimulationSpec) -> ClientApp:
    """Build the same ClientApp without the mod, for plain Flower strategies."""
    return _app_of(LocalContributor(spec), [])


def _app_of(contributor: "LocalContributor", mods: list[VerifiableUpdates]) -> ClientApp:
    app = ClientApp(mods=list(mods))
    app.train()(contributor.train)
    app.evaluate()(contributor.evaluate)
    app.query()(no_queries)
    return app


class LocalContributor:
    """Trains and evaluates for the contributor that the node configuration names.

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
        self._attackers = Attackers(experiment)

    def train(self, message: Message, context: Context) -> Message:
        """Return the trained model and the metrics of its training."""
        client, round_id = client_of(context), _round_of(message)
        hooks = self._attackers.hooks(client, RoundId(round_id))
        if hooks is not None and hooks.attack.overhears is not None:
            client = hooks.attack.overhears  # the copied update is the one that the victim trains
        x, y = self._data(client)
        if hooks is not None:
            changed = hooks.data(LocalData(x, y, self._dataset.num_classes))
            x, y = changed.x, changed.y
        metrics = MetricRecord({"num-examples": len(y)})
        arrays = message.content.array_records["arrays"]
        if hooks is None or hooks.attack.trains or not self._skips_training:
            arrays, metrics["train-loss"] = self._trained(client, round_id, arrays, x, y)
        content = RecordDict({"arrays": arrays, "metrics": metrics})
        return Message(content, reply_to=message)

    def train_honestly(self, client: int, round_id: int, arrays: ArrayRecord) -> ArrayRecord:
        """Return a contributor's honestly trained model, from its unchanged data."""
        x, y = self._data(client)
        return self._trained(client, round_id, arrays, x, y)[0]

    def _trained(
        self,
        client: int,
        round_id: int,
        arrays: ArrayRecord,
        x: NDArray[np.float32],
        y: NDArray[np.int64],
    ) -> tuple[ArrayRecord, float]:
        self._model.load(arrays.to_torch_state_dict())
        seed = integer_seed(self._experiment.seed, "training", round_id, client)
        settings = self._settings.in_round(round_id)
        loss = train(self._model.module, x, y, settings, seed).loss
        return ArrayRecord(self._model.state()), loss

    def evaluate(self, message: Message, context: Context) -> Message:
        """Return loss and accuracy of the model on the contributor's own data."""
        x, y = self._data(client_of(context))
        arrays = message.content.array_records["arrays"]
        self._model.load(arrays.to_torch_state_dict())
        loss, correct = evaluate(self._model.module, x, y)
        metrics = MetricRecord(
            {"num-examples": len(y), "eval-loss": loss, "eval-accuracy": correct / len(y)}
        )
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    def _data(self, client: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        indices = self._shares.indices[client]
        return self._dataset.train_x[indices], self._dataset.train_y[indices]


def _round_of(message: Message) -> int:
    """Return the round from the message's group; plain strategies only put it in the config."""
    if message.metadata.group_id:
        return int(message.metadata.group_id)
    return int(str(message.content.config_records["config"]["server-round"]))
