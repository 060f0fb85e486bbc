"""registry.json: read as written, nobody in it twice, mistakes named."""

from pathlib import Path

import pytest

from coordinator.founding.certificates import make_node_key
from coordinator.protocol.errors import ConfigError
from coordinator.settings.load import validated
from coordinator.settings.registry import RegisteredParticipant, Registry, read_registry

A, B = "0x" + "aA" * 20, "0x" + "bb" * 20
KEY = make_node_key("a").public


def registry(*rows: dict) -> Registry:
    return validated(Registry, {"participants": list(rows)}, "registry.json")


def test_what_was_written_is_read(tmp_path: Path) -> None:
    made = registry({"name": "a", "address": A, "node_key": KEY}, {"name": "b", "address": B})
    path = tmp_path / "registry.json"
    path.write_bytes(made.to_json())
    found = read_registry(path)
    assert found == made
    assert found.get("a") == RegisteredParticipant(name="a", address=A, node_key=KEY)
    assert found.get("c") is None


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"name": "a", "address": B}, "name a is there twice"),
        ({"name": "b", "address": A.lower()}, "address 0x.* is there twice"),
        (
            {"name": "b", "address": B, "node_key": KEY.rsplit(" ", 1)[0] + " other"},
            r"node key of b is there twice \(also for a\)",
        ),
    ],
)
def test_nobody_is_in_it_twice(second: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        registry({"name": "a", "address": A, "node_key": KEY}, second)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "expected a JSON object, found list"),
        ("{", r"registry\.json"),
        ('{"participants": [{"name": "../a", "address": "' + A + '"}]}', "name"),
        ('{"participants": [{"name": "a", "address": "0x12"}]}', "address"),
        ('{"participants": [{"name": "a", "address": "' + A + '", "node_key": "x"}]}', "node_key"),
        ('{"members": []}', 'unknown key "members"'),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "registry.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_registry(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json: cannot be read: No such file"):
        read_registry(tmp_path / "none.json")
