"""The session of a SuperNode: noted, ended for one that is dead, and for nobody else's."""

import json
import socket
from pathlib import Path

import pytest

from clients.daemon import node_session as session
from clients.daemon.node_session import NodeSession, admitted_node, deactivate_node
from coordinator.founding.certificates import make_authority, make_node_key
from coordinator.protocol.errors import ConfigError

NODE = 12403062737024550840
LOG = f"""INFO :      Starting Flower SuperNode
INFO:     Started server process [17]
INFO :      SuperNode ID: 5
INFO :      Starting Flower SuperNode
INFO:     Started server process [18]
INFO :      SuperNode ID: {NODE}
"""


class Farewells:
    def __init__(self) -> None:
        self.said: list[int] = []
        self.heard = True

    def __call__(self, node_id: int) -> bool:
        self.said.append(node_id)
        return self.heard


@pytest.fixture
def farewells() -> Farewells:
    return Farewells()


@pytest.fixture
def note(tmp_path: Path) -> Path:
    return tmp_path / "session.json"


def test_a_dead_one_is_ended_once(note: Path, farewells: Farewells):
    held = NodeSession(note, farewells)
    held.end()
    assert farewells.said == []
    held.begins(NODE, 17)
    assert (held.is_held_by(17), held.is_held_by(18)) == (True, False)
    held.end()
    held.end()
    assert farewells.said == [NODE]
    assert not note.exists()
    assert not held.is_held_by(17)


def test_one_that_an_earlier_life_left_is_ended(note: Path, farewells: Farewells):
    NodeSession(note, farewells).begins(NODE, 17)
    later = NodeSession(note, farewells)
    assert not later.is_held_by(17)
    later.end()
    assert farewells.said == [NODE]


def test_a_superlink_that_does_not_answer_is_asked_again_after_a_while(
    note: Path, farewells: Farewells, monkeypatch: pytest.MonkeyPatch
):
    now = [100.0]
    monkeypatch.setattr(session.time, "monotonic", lambda: now[0])
    held, farewells.heard = NodeSession(note, farewells), False
    held.begins(NODE, 17)
    held.end()
    held.end()
    assert len(farewells.said) == 1
    now[0] += 11.0
    farewells.heard = True
    held.end()
    assert (len(farewells.said), note.exists()) == (2, False)


@pytest.mark.parametrize("copied", ["elsewhere", "rebooted", "not json", "no number"])
def test_a_copy_ends_nobodys(copied: str, note: Path, farewells: Farewells, tmp_path: Path):
    """Whoever restores a backup beside a participant that lives must not push it out."""
    NodeSession(note, farewells).begins(NODE, 17)
    told = json.loads(note.read_text())
    if copied == "elsewhere":
        (tmp_path / "copy").mkdir()
        note = note.rename(tmp_path / "copy" / note.name)
    elif copied == "rebooted":
        told["where"] = "another " + told["where"].split(" ", 1)[1]
        note.write_text(json.dumps(told))
    else:
        note.write_text("{" if copied == "not json" else json.dumps({**told, "node": "x"}))
    NodeSession(note, farewells).end()
    assert farewells.said == []


def test_who_was_let_in_is_read_from_the_log_of_its_own_life():
    assert admitted_node(LOG, 18) == NODE
    assert admitted_node(LOG, 19) is None
    assert admitted_node(LOG.rsplit("INFO :", 1)[0], 18) is None


def test_a_key_that_is_none_is_named(tmp_path: Path):
    (tmp_path / "node.key").write_text("secret")
    with pytest.raises(ConfigError, match=r"node\.key = .*: not a private key in OpenSSH's form"):
        deactivate_node("127.0.0.1:1", tmp_path / "ca.crt", tmp_path / "node.key")


def test_a_superlink_that_is_away_is_no_error(tmp_path: Path):
    (tmp_path / "ca.crt").write_bytes(make_authority("test").certificate)
    (tmp_path / "node.key").write_bytes(make_node_key("t").private)
    with socket.socket() as taken:  # bound, not listening
        taken.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        assert not deactivate_node(where, tmp_path / "ca.crt", tmp_path / "node.key")(NODE)
