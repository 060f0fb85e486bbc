"""A coordinator whose only name is an IPv6 address, and the participant's file made for it."""

from pathlib import Path

import pytest

from clients.data.load import load_data
from coordinator.founding.create import create_federation
from coordinator.protocol.errors import ConfigError
from coordinator.settings.load import load_settings, validated
from coordinator.settings.participant import CoordinatorReach, ParticipantSettings

FEDERATION = """
name = "six"
seed = 7

[input]
shape = [3]
classes = 2

[model]
kind = "logistic"

[round]
min_contributors = 1
duration_s = 120
rounds = 1

[windows]
challenge_window_s = 1
answer_s = 15
unbonding_s = 200

[host]
host = "::1"
names = ["::1"]
http_port = 18700
superlink_port = 19092

[[participants]]
name = "alice"
"""


def test_the_file_that_founding_writes_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "federation.toml").write_text(FEDERATION)
    create_federation(tmp_path / "federation.toml", tmp_path / "made", load_examples=load_data)
    file = tmp_path / "made" / "participants" / "alice" / "participant.toml"
    settings = load_settings(ParticipantSettings, file)
    assert settings.coordinator.superlink == "[::1]:19092"


@pytest.mark.parametrize("superlink", ["::1:9092", "[::1]", "[host]:9092", "[::1:9092", "host:"])
def test_another_form_is_refused(superlink: str) -> None:
    reach = {"rpc": "http://[::1]:1/rpc", "store": "http://[::1]:1", "superlink": superlink}
    with pytest.raises(ConfigError, match=r"superlink"):
        validated(CoordinatorReach, reach, "participant.toml")
