"""The built-in trainer as a Flower ClientApp: trains the agreed model on the participant's data.

For one key and round, training gives the same bytes on the same machine however often it is
repeated: torch runs one thread, and the order of the examples is drawn from address and round.
"""

import hashlib

# isort: split
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from clients.daemon.trained_model import TrainedModel
from clients.data.examples import LocalData
from clients.training import trainer as training
from clients.training.trainer import TrainingSettings
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.types import Address
from coordinator.protocol.wire import ARRAYS_RECORD, EXAMPLES_METRIC, SERVER_ROUND, encode_npy


def trainer_app(
    model: TrainedModel,
    data: LocalData,
    settings: TrainingSettings,
    address: Address,
    test: LocalData | None = None,
) -> ClientApp:
    """Return a ClientApp that trains the federation's model on ``data``.

    It evaluates on ``test``, or on the same data where there is none.
    """
    training.use_one_thread()
    training.load_optimizers()
    trainer = Trainer(model, data, settings, address, test)
    app = ClientApp()
    app.train()(trainer.train)
    app.evaluate()(trainer.evaluate)
    return app


class Trainer:
    """Holds model and data between messages."""

    def __init__(
        self,
        model: TrainedModel,
        data: LocalData,
        settings: TrainingSettings,
        address: Address,
        test: LocalData | None = None,
    ) -> None:
        self._shared, self._model = model.shared, model.classifier
        self._data = data
        self._test = data if test is None else test
        self._settings = settings
        self._address = address

    def train(self, message: Message, _context: Context) -> Message:
        """Train on all data, starting from the received model."""
        self._load(message)
        seed = round_seed(self._address, message.metadata.group_id)
        settings = self._settings_of(message)
        result = training.train(self._model, self._data.x, self._data.y, settings, seed)
        metrics = MetricRecord({EXAMPLES_METRIC: result.examples, "loss": result.loss})
        content = RecordDict({ARRAYS_RECORD: self._arrays(), "metrics": metrics})
        return Message(content, reply_to=message)

    def evaluate(self, message: Message, _context: Context) -> Message:
        """Report loss and accuracy of the received model on the participant's test data."""
        self._load(message)
        loss, correct = training.evaluate(self._model, self._test.x, self._test.y)
        count = len(self._test)
        metrics = MetricRecord({EXAMPLES_METRIC: count, "loss": loss, "accuracy": correct / count})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    def _settings_of(self, message: Message) -> TrainingSettings:
        """Return the settings of a message's round; ``ConfigError`` if they have none for it."""
        if self._settings.schedule is None:
            return self._settings
        (config,) = message.content.config_records.values()
        try:
            return self._settings.in_round(int(str(config[SERVER_ROUND])))
        except ValueError as error:
            raise ConfigError(f"the agreement: {error}") from error

    def _load(self, message: Message) -> None:
        (record,) = message.content.array_records.values()
        arrays = {name: array.numpy() for name, array in record.items()}
        # Integer buffers start a round as the agreement has them, whatever was sent.
        self._shared.load({n: values for n, values in arrays.items() if values.dtype.kind == "f"})

    def _arrays(self) -> ArrayRecord:
        arrays = {}
        for name, values in self._shared.arrays().items():
            if name in self._shared.floats:
                dtype = values.dtype.name
                arrays[name] = Array(dtype, values.shape, "numpy.ndarray", encode_npy(values))
        return ArrayRecord(arrays)


def round_seed(address: Address, group: str) -> int:
    """Return the seed for the order of one contributor's examples in one round (its group id)."""
    digest = hashlib.sha256(f"fedproof training {address.lower()} {group}".encode()).digest()
    return int.from_bytes(digest[:8], "big")
