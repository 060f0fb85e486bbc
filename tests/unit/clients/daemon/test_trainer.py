"""The built-in trainer as a ClientApp, and networks made from an architecture."""

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, RecordDict
from participant_bench import message

from clients.daemon.trained_model import TrainedModel
from clients.daemon.trainer import Trainer, round_seed, trainer_app
from clients.data.examples import LocalData
from clients.training import trainer as training
from clients.training.trainer import TrainingSettings, training_settings
from coordinator.models.networks import BinaryLogits, build_network, load_weights
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.scores.architecture import Architecture, Linear, Relu
from coordinator.protocol.types import Address
from coordinator.settings.learning import Training

ME = Address("0x" + "Aa" * 20)
MODEL = Architecture((Linear(2, 3), Relu(), Linear(3, 2)), (2,))
X = np.random.default_rng(1).normal(size=(30, 2)).astype(np.float32)
DATA = LocalData(X, (X[:, 0] > 0).astype(np.int64), "here")
SETTINGS = TrainingSettings(epochs=2, batch_size=7, learning_rate=0.5)


def weights(value: float = 0.25) -> dict[str, np.ndarray]:
    state = build_network(MODEL).state_dict()
    return {
        name: np.full(tuple(tensor.shape), value, np.float32) * (i + 1)
        for i, (name, tensor) in enumerate(state.items())
    }


def ask(app, kind: str, values: dict[str, np.ndarray], group: str = "1"):
    arrays = ArrayRecord({name: Array(array) for name, array in values.items()})
    asked = message(RecordDict({"arrays": arrays}), kind, group=group)
    return app(asked, Context(1, 7, {}, RecordDict(), {}))


def trained(reply) -> dict[str, np.ndarray]:
    return {n: a.numpy() for n, a in reply.content.array_records["arrays"].items()}


def test_training_is_the_bare_loop_with_the_rounds_seed():
    reply = ask(trainer_app(TrainedModel.of(MODEL), DATA, SETTINGS, ME), "train", weights())
    network = build_network(MODEL)
    load_weights(network, weights())
    result = training.train(network, DATA.x, DATA.y, SETTINGS, round_seed(ME, "1"))
    for name, tensor in network.state_dict().items():
        np.testing.assert_array_equal(trained(reply)[name], tensor.numpy())
    metrics = dict(reply.content.metric_records["metrics"])
    assert metrics == {"num-examples": 30, "loss": result.loss}


def test_training_is_repeatable_for_a_round_and_differs_between_rounds():
    app = trainer_app(TrainedModel.of(MODEL), DATA, SETTINGS, ME)
    first = trained(ask(app, "train", weights()))
    ask(app, "train", weights(0.5), group="2")
    again = trained(
        ask(trainer_app(TrainedModel.of(MODEL), DATA, SETTINGS, ME), "train", weights())
    )
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    other = trained(ask(app, "train", weights(), group="2"))
    assert any((first[name] != other[name]).any() for name in first)
    assert round_seed(ME, "1") == round_seed(Address(ME.lower()), "1") != round_seed(ME, "11")


def test_each_round_is_trained_with_the_schedules_rate():
    scheduled = training_settings(
        Training(
            epochs=2,
            batch_size=7,
            learning_rate=1.0,
            schedule="exponentiallr",
            schedule_options={"gamma": 0.5},
        )
    )
    app = trainer_app(TrainedModel.of(MODEL), DATA, scheduled, ME)
    arrays = ArrayRecord({name: Array(array) for name, array in weights().items()})
    told = ConfigRecord({"server-round": 2})
    asked = message(RecordDict({"arrays": arrays, "any": told}), "train", group="1")
    reply = app(asked, Context(1, 7, {}, RecordDict(), {}))
    plain = trained(
        ask(trainer_app(TrainedModel.of(MODEL), DATA, SETTINGS, ME), "train", weights())
    )
    for name, values in trained(reply).items():  # a half of 1.0, as SETTINGS have it
        np.testing.assert_array_equal(values, plain[name])


def test_evaluation_reports_loss_and_accuracy():
    reply = ask(trainer_app(TrainedModel.of(MODEL), DATA, SETTINGS, ME), "evaluate", weights(0.0))
    metrics = dict(reply.content.metric_records["metrics"])
    assert metrics["num-examples"] == 30
    assert metrics["loss"] == pytest.approx(np.log(2), rel=1e-5)
    assert metrics["accuracy"] == pytest.approx(float((DATA.y == 0).mean()))


def test_what_is_tested_on_is_not_trained_on():
    train, test = DATA.split(0.3)
    app = trainer_app(TrainedModel.of(MODEL), train, SETTINGS, ME, test)
    reply = ask(app, "train", weights())
    for name, values in trained(
        ask(trainer_app(TrainedModel.of(MODEL), train, SETTINGS, ME), "train", weights())
    ).items():
        np.testing.assert_array_equal(trained(reply)[name], values)
    assert reply.content.metric_records["metrics"]["num-examples"] == 21
    metrics = dict(ask(app, "evaluate", weights(0.0)).content.metric_records["metrics"])
    assert metrics["num-examples"] == 9
    assert metrics["accuracy"] == pytest.approx(float((test.y == 0).mean()))


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.pop(next(iter(w))),
        lambda w: w.update(extra=np.zeros(1, np.float32)),
        lambda w: w.update({next(iter(w)): np.zeros((2, 2), np.float32)}),
    ],
)
def test_a_model_that_is_not_the_architectures_is_refused(change):
    values = weights()
    change(values)
    with pytest.raises(ConfigError, match="the model received "):
        ask(trainer_app(TrainedModel.of(MODEL), DATA, SETTINGS, ME), "train", values)


def test_one_logit_is_two_classes():
    single = Architecture((Linear(2, 1),), (2,))
    network = build_network(single)
    seen = BinaryLogits.around(network, single)
    logits = seen(torch.from_numpy(X))
    assert tuple(logits.shape) == (30, 2)
    assert float(logits[:, 0].detach().abs().max()) == 0.0
    torch.testing.assert_close(logits[:, 1:], network(torch.from_numpy(X)))
    assert BinaryLogits.around(network, MODEL) is network
    trainer = Trainer(TrainedModel.of(single), DATA, SETTINGS, ME)
    names = list(build_network(single).state_dict())
    values = {names[0]: np.zeros((1, 2), np.float32), names[1]: np.zeros(1, np.float32)}
    asked = message(
        RecordDict({"arrays": ArrayRecord({n: Array(v) for n, v in values.items()})}), "train"
    )
    reply = trainer.train(asked, Context(1, 7, {}, RecordDict(), {}))
    assert set(trained(reply)) == set(names)
    assert trained(reply)[names[0]][0, 0] > 0.1  # class 1 is where the first feature is positive


def test_building_a_network_moves_no_global_state():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    build_network(MODEL)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_agreed_section_becomes_the_trainers_settings():
    agreed = Training(epochs=3, batch_size=4, learning_rate=0.5, momentum=0.25, max_steps=9)
    assert training_settings(agreed) == TrainingSettings(3, 4, 0.5, 0.25, 0.0, 9)
    assert training_settings(Training()).max_steps is None
