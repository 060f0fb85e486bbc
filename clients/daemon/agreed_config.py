"""What a federation agreed to tell participants' apps: handed over, and watched for being read.

An app finds it where Flower's apps look: in the run config, and in the config record of each
message. What the coordinator's messages say under the same keys is replaced. Nobody can make an app
obey: a key that it never reads is told of in the log.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

# isort: split
from flwr.app import ConfigRecord, Context, Message

from coordinator.local.logs import fields
from coordinator.protocol.types import RoundId
from coordinator.protocol.wire import SERVER_ROUND

_log = logging.getLogger(__name__)


class AgreedConfig:
    """The agreement's ``config``, for one application.

    Parameters
    ----------
    values
        Agreed keys and values.
    app
        The ``app`` of ``participant.toml``; empty for the built-in trainer.
    """

    def __init__(self, values: Mapping[str, Any], app: str = "") -> None:
        self._values, self._app = dict(values), app
        self._read: set[str] = set()
        self._is_told = not values

    def hand_over(self, message: Message, context: Context, round_id: RoundId | None) -> None:
        """Put the agreed values, and the round if there is one, where the application looks."""
        context.run_config = _WatchedDict({**context.run_config, **self._values}, self._read)
        for name, sent in list(message.content.config_records.items()):
            record = _WatchedRecord({**sent, **self._values}, self._read)
            if round_id is not None:
                record[SERVER_ROUND] = int(round_id)
            message.content[name] = record

    def trained(self, round_id: RoundId) -> None:
        """Say once, after the first training, which agreed keys the application did not read."""
        if self._is_told:
            return
        self._is_told = True
        for key in sorted(self._values.keys() - self._read):
            _log.warning(
                'federation.json: config.%s = %r: not read by %s; expected context.run_config["%s"]'
                ' or message.content["config"]["%s"]',
                key,
                self._values[key],
                f'app = "{self._app}"' if self._app else "the built-in trainer",
                key,
                key,
                extra=fields(round=round_id),
            )


class _WatchedRecord(ConfigRecord):
    """A config record that notes which keys are read."""

    def __init__(self, values: dict[str, Any], read: set[str]) -> None:
        self.__dict__["read_keys"] = read
        super().__init__(values)

    def __getitem__(self, key: str) -> Any:
        self.__dict__["read_keys"].add(key)
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[str]:
        """Whoever goes through all keys has read them."""
        self.__dict__["read_keys"].update(super().keys())
        return super().__iter__()

    def items(self) -> Any:
        self.__dict__["read_keys"].update(super().keys())
        return super().items()

    def values(self) -> Any:
        self.__dict__["read_keys"].update(super().keys())
        return super().values()

    def copy(self) -> Any:
        return _WatchedRecord(dict(super().items()), self.__dict__["read_keys"])


class _WatchedDict(dict[str, Any]):
    """A run config that notes which keys are read."""

    def __init__(self, values: Mapping[str, Any], read: set[str]) -> None:
        super().__init__(values)
        self._read = read

    def __getitem__(self, key: str) -> Any:
        self._read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._read.add(key)
        return super().get(key, default)

    def __iter__(self) -> Iterator[str]:
        """Whoever goes through all keys has read them."""
        self._read.update(super().keys())
        return super().__iter__()

    def items(self) -> Any:
        self._read.update(super().keys())
        return super().items()

    def values(self) -> Any:
        self._read.update(super().keys())
        return super().values()
