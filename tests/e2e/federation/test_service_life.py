"""A coordinator's life: rounds, an end in time with nothing left, and on where it was."""

import re
import socket
import time
from pathlib import Path

import pytest
from federation_bench import Coordinator, found_federation, participants
from fedproof_command import fedproof
from flower_deployment import free_port
from live_federation import FULL

from coordinator.daemon.status import service_file

NAMES = ["oslo", "bergen"]
STOPS_WITHIN_S = 20.0


def ended_in_time(coordinator: Coordinator) -> None:
    began = time.monotonic()
    assert coordinator.end() == 0, coordinator.said()
    assert time.monotonic() - began < STOPS_WITHIN_S
    assert coordinator.children() == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("sealed", [False, True] if FULL else [False])
def test_rounds_an_end_and_a_new_beginning(tmp_path: Path, sealed: bool):
    root = found_federation(tmp_path, NAMES, rounds=1, sealed=sealed, tls=not sealed)
    with Coordinator(root) as coordinator, participants(root, NAMES):
        status = coordinator.until(lambda s: s["phase"] == "complete", 420)
        assert status["chain"]["rounds"] == {
            "open": 0,
            "sealed": 0,
            "settled": 0,
            "final": 1,
            "void": 0,
        }
        assert len(status["contributors"]["online"]) == 2
        second = fedproof("coordinator", "--config", root / "coordinator.toml")
        assert second.returncode == 6
        pid = coordinator.process.pid
        assert f"is in use by process {pid}; stop it first" in second.stderr
        ended_in_time(coordinator)
        toml = root / "coordinator.toml"
        toml.write_text(re.sub(r"^rounds = 1", "rounds = 2", toml.read_text(), flags=re.M))
        coordinator.start()
        coordinator.until(lambda s: s["phase"] == "complete", 420)
        ended_in_time(coordinator)
    events = coordinator.events()
    opened = [e["round"] for e in events if e["message"] == "round opened"]
    assert opened == [1, 2]
    sealed_rounds = [e["round"] for e in events if e["message"] == "round sealed"]
    assert sealed_rounds == [1, 2]
    admitted = [e["participant"] for e in events if e["message"] == "a node was admitted"]
    assert sorted(admitted) == ([] if sealed else sorted(NAMES))
    assert not [e for e in events if "traceback" in e]


@pytest.mark.slow
def test_what_stands_in_the_way_is_named_in_one_line(tmp_path: Path):
    root = found_federation(tmp_path, NAMES[:1])
    toml = root / "coordinator.toml"
    with_port = toml.read_text()
    port = re.search(r"\[http\]\nhost = .*\nport = (\d+)", with_port)
    assert port is not None

    def refused(expected_status: int) -> str:
        done = fedproof("coordinator", "--config", toml)
        assert done.returncode == expected_status, done.stderr
        assert "Traceback" not in done.stderr
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("fedproof: error:")
        return last

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(port[1])))
        taken.listen()
        assert f"127.0.0.1:{port[1]}: cannot listen there" in refused(2)
    toml.write_text(with_port.replace("insecure = true", "insecure = false"))
    assert "flower.ca, flower.certificate, flower.key: not given" in refused(2)
    toml.write_text(with_port.replace("keys/coordinator.password", "keys/none"))
    assert "keys/none" in refused(7)
    toml.write_text(with_port.replace('rpc = ""', f'rpc = "http://127.0.0.1:{free_port()}"'))
    (root / "state" / "deployment.json").rename(root / "state" / "elsewhere.json")
    assert "deployment.json: cannot be read" in refused(2)
    assert not service_file(root / "state").exists()
