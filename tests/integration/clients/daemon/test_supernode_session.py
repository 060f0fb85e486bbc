"""A SuperNode that is killed: its session ends at once, and the next one is let in."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from superlink_process import Link, NodeKey, superlink_process

from clients.daemon.supernode import NAME, SuperNode, SuperNodeError
from coordinator.local.children import Children
from coordinator.settings.load import validated
from coordinator.settings.participant import ParticipantSettings


@pytest.fixture
def link(tmp_path: Path) -> Iterator[Link]:
    (tmp_path / "link").mkdir()
    with superlink_process(tmp_path / "link") as link:
        yield link


def supernode(link: Link, folder: Path) -> SuperNode:
    settings = validated(
        ParticipantSettings,
        {
            "account": {"key": "account.json"},
            "coordinator": {
                "rpc": "http://127.0.0.1:8700/rpc",
                "store": "http://127.0.0.1:8700",
                "superlink": f"127.0.0.1:{link.port}",
                "ca": str(link.ca),
            },
            "node": {"key": "node.key"},
        },
        "test",
    )
    return SuperNode(settings, folder, folder / "s.sock", folder / "state", "test-session")


def looked_until(kept: SuperNode, children: Children, done: Callable[[int], bool]) -> int:
    """Look as the daemon does, until the SuperNode that runs will do; return its process id."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        with suppress(SuperNodeError):
            kept.look(children)
        status = children.find(NAME)
        if status is not None and status.pid is not None and done(status.pid):
            return status.pid
        time.sleep(0.2)
    raise AssertionError((kept._state / "logs" / "supernode.log").read_text())


def sessions(link: Link) -> list[str]:
    """What the SuperLink says of sessions, in order."""
    lines = (link.ca.parent / "log").read_text().splitlines()
    return [word for line in lines for word in ("Activated", "Deactivated") if f"] {word}" in line]


@pytest.mark.slow
def test_who_was_killed_is_let_in_again_before_its_heartbeat_lapses(link: Link, tmp_path: Path):
    key = NodeKey()
    key.write(tmp_path / "node.key")
    link.control.register_node(key.public, "other")
    kept = supernode(link, tmp_path)
    session = kept._session
    assert session is not None
    with Children() as children:
        kept.start(children)
        first = looked_until(kept, children, session.is_held_by)
        assert sessions(link) == ["Activated"]
        os.kill(first, signal.SIGKILL)
        second = looked_until(kept, children, lambda pid: pid != first and session.is_held_by(pid))
        assert sessions(link) == ["Activated", "Deactivated", "Activated"]

        # now the daemon too, so that nobody is left who knows but by its note
        os.kill(second, signal.SIGKILL)
        children.remove(NAME)
    with Children() as children:
        later = supernode(link, tmp_path)
        later.start(children)
        assert sessions(link)[3:] == ["Deactivated"]
        assert later._session is not None
        looked_until(later, children, later._session.is_held_by)
    assert sessions(link)[4:] == ["Activated", "Deactivated"], "it did not end in good order"
