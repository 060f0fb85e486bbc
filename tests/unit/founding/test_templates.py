"""Configuration files made by founding: valid TOML whatever the values hold, comments kept."""

import tomllib
from pathlib import Path

import pytest

from coordinator.founding.templates import Reach, coordinator_toml, participant_toml
from coordinator.settings.founding import load_founding

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


def test_a_rule_of_ones_own_is_an_extension_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "template_scores.py").write_text(
        "from fedproof import ScoringRule\n"
        'MINE = ScoringRule(name="mine", score=lambda given: [1] * len(given.round.updates))\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "federation.toml").write_text(
        'name = "basel"\ninput = {shape = [4], classes = 2}\n'
        'scoring = {kind = "template_scores:MINE"}\n'
    )
    written = coordinator_toml(load_founding(tmp_path / "federation.toml")).decode()
    assert tomllib.loads(written)["extensions"] == ["template_scores:MINE"]
    (tmp_path / "federation.toml").write_text(
        'name = "basel"\ninput = {shape = [4], classes = 2}\n'
    )
    plain = coordinator_toml(load_founding(tmp_path / "federation.toml")).decode()
    assert "extensions" not in plain
