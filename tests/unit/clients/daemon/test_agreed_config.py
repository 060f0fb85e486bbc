"""What an app is told: the agreed config over the message's, the true round, nothing of ours."""

import logging
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from participant_bench import message

from clients.daemon.agreed_config import AgreedConfig
from coordinator.protocol.types import RoundId

AGREED = {"lr": 0.5, "epochs": 3}


def handed(agreed: AgreedConfig, **sent: Any) -> tuple[Message, Context]:
    asked = message(RecordDict({"settings": ConfigRecord(sent)}), "train")
    context = Context(1, 7, {}, RecordDict(), {"lr": 0.1, "own": True})
    agreed.hand_over(asked, context, RoundId(4))
    return asked, context


def test_agreed_values_win_over_those_that_were_sent() -> None:
    asked, context = handed(AgreedConfig(AGREED), **{"lr": 9.0, "other": 1, "server-round": 0})
    config = asked.content.config_records["settings"]
    assert dict(config) == {"lr": 0.5, "epochs": 3, "other": 1, "server-round": 4}
    assert context.run_config == {"lr": 0.5, "epochs": 3, "own": True}
    assert dict(context.run_config) == {"lr": 0.5, "epochs": 3, "own": True}


@pytest.mark.parametrize(
    ("reads", "unread"),
    [
        (lambda config, run: None, ["epochs", "lr"]),
        (lambda config, run: config["lr"], ["epochs"]),
        (lambda config, run: (config.get("lr"), run["epochs"]), []),
        (lambda config, run: run.get("lr"), ["epochs"]),
        (lambda config, run: dict(**config), []),
        (lambda config, run: dict(config.items()), []),
        (lambda config, run: config.copy()["lr"], ["epochs"]),
        (lambda config, run: [key for key in run], []),  # noqa: C416  # as an app may do it
        (lambda config, run: {**run}, []),
        (lambda config, run: "lr" in config, ["epochs", "lr"]),
    ],
)
def test_keys_that_an_app_never_reads_are_told_once(
    caplog: pytest.LogCaptureFixture, reads: Any, unread: list[str]
) -> None:
    agreed = AgreedConfig(AGREED, "mine:app")
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        asked, context = handed(agreed)
        reads(asked.content.config_records["settings"], context.run_config)
        agreed.trained(RoundId(4))
    told = [record.getMessage() for record in caplog.records]
    assert [text.split(" ")[1].removeprefix("config.") for text in told] == unread
    if "lr" in unread:
        assert told[-1] == (
            'federation.json: config.lr = 0.5: not read by app = "mine:app"; expected '
            'context.run_config["lr"] or message.content["config"]["lr"]'
        )


def test_without_an_agreed_config_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    agreed = AgreedConfig({})
    asked, context = handed(agreed, lr=0.25)
    agreed.trained(RoundId(4))
    assert dict(asked.content.config_records["settings"]) == {"lr": 0.25, "server-round": 4}
    assert context.run_config == {"lr": 0.1, "own": True}
    assert caplog.records == []
