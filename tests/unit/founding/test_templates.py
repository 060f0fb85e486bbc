"""Configuration files made by founding: valid TOML whatever the values hold, comments kept."""

import tomllib

import pytest

from coordinator.founding.templates import Reach, participant_toml

REACH = Reach("https://fed:8700/rpc", "https://fed:8700", "fed:9092", tls=True)


@pytest.mark.parametrize(
    "label", ["outcome", 'a "quoted" name', "back\\slash", "tab\tdel\x7f", "é"]
)
def test_any_column_name_is_read_back(label: str) -> None:
    written = participant_toml("basel", REACH, label, own_account=True).decode()
    assert tomllib.loads(written)["data"]["label"] == label


def test_comments_stand_beside_their_sections() -> None:
    own = participant_toml("basel", REACH, "", own_account=True).decode()
    given = participant_toml("basel", REACH, "", own_account=False).decode()
    assert own.startswith("# basel: fedproof client --config participant.toml\n\nformat = ")
    assert "\n[account]  # put your own key file here\nkey = " in own
    assert "\n[account]\nkey = " in given
    assert tomllib.loads(given)["account"]["password_file"] == "password.txt"
    assert "\n[stake]  # bond by oneself when the daemon starts\njoin = true\n" in own
