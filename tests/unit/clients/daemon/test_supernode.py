"""The SuperNode beside a daemon: how it is started, what it is given, and why it ended."""

import sys
from pathlib import Path

import pytest
from flwr.common.config import parse_config_args

from clients.daemon import supernode as node
from clients.daemon.supernode import (
    SuperNode,
    SuperNodeError,
    child_environment,
    connection_options,
    free_port,
    node_setting,
    why_ended,
)
from coordinator.local.children import ChildStatus
from coordinator.protocol.errors import ConfigError
from coordinator.settings.load import validated
from coordinator.settings.participant import ParticipantSettings


def settings(superlink="127.0.0.1:9092", ca="", key="", port=0):
    return validated(
        ParticipantSettings,
        {
            "account": {"key": "account.json"},
            "coordinator": {
                "rpc": "http://127.0.0.1:8700/rpc",
                "store": "http://127.0.0.1:8700",
                "superlink": superlink,
                "ca": ca,
            },
            "node": {"key": key, "port": port},
        },
        "test",
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ca.crt").write_text("authority")
    (tmp_path / "node.key").write_text("secret")
    (tmp_path / "node.key").chmod(0o600)
    return tmp_path


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_plaintext_on_loopback_only(folder, host):
    found = connection_options(settings(f"{host}:9"), folder)
    assert found == ["--superlink", f"{host}:9", "--insecure"]
    with pytest.raises(
        ConfigError, match=r"coordinator\.ca is needed where the coordinator is not"
    ):
        connection_options(settings("hospital.example:9"), folder)


def test_tls_takes_the_authority_and_the_nodes_own_key(folder):
    found = connection_options(settings("hospital.example:9", "ca.crt", "node.key"), folder)
    assert found == [
        *("--superlink", "hospital.example:9"),
        *("--root-certificates", str(folder / "ca.crt")),
        *("--auth-supernode-private-key", str(folder / "node.key")),
    ]


def test_what_is_missing_or_open_is_named(folder):
    with pytest.raises(ConfigError, match=r"node\.key is missing"):
        connection_options(settings(ca="ca.crt"), folder)
    with pytest.raises(ConfigError, match=r"coordinator\.ca = .*none\.crt: no such file"):
        connection_options(settings(ca="none.crt", key="node.key"), folder)
    (folder / "node.key").chmod(0o640)
    with pytest.raises(
        ConfigError, match=r"node\.key = .*: others can read it, expected mode 0600"
    ):
        connection_options(settings(ca="ca.crt", key="node.key"), folder)


def test_children_get_our_programs_and_no_password():
    own = {"PATH": "/bin", "FEDPROOF_PASSWORD": "secret", "LANG": "C", "FLWR_HOME": "elsewhere"}
    found = child_environment(own, Path("home"), "participant-1")
    assert found == {
        "PATH": f"{Path(sys.executable).parent}:/bin",
        "LANG": "C",
        "FLWR_HOME": "home",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.5",
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        "FEDPROOF_MARK": "participant-1",
    }


def test_ports_lie_below_those_the_kernel_hands_out():
    assert 20_000 <= free_port() < 32_768


REFUSED = """
INFO:      Starting Flower SuperNode
ERROR:     Exit Code: 302
Failed to initialize the connection to the SuperLink.
[code: 305] The node is already active.
Try again later.

For more information, visit: <https://flower.ai>
INFO:     Finished server process [1]
"""


def test_why_it_ended_is_told_in_words():
    assert why_ended(1, REFUSED) == (
        "the SuperLink refuses this node (it may take it for alive for 60 s more): "
        "[code: 305] The node is already active. Try again later."
    )
    assert why_ended(0, "SuperNode terminated gracefully.\n").startswith(
        "the SuperLink does not know this node: its key (node.key) is not"
    )
    assert why_ended(-9, "one\n two \n\n") == (
        "the SuperNode ended with status -9; its log ends with: two"
    )
    assert why_ended(2, "").endswith("its log ends with: nothing")


class FakeChildren:
    def __init__(self):
        self.specs, self.status = [], None

    def add(self, spec):
        self.specs.append(spec)

    def remove(self, name):
        assert name == node.NAME

    def find(self, name):
        return self.status


def status(state, starts=1, returncode=None, uptime=1.0):
    pid = 1 if state == "running" else None
    return ChildStatus(node.NAME, state, pid, starts, returncode, uptime)


def test_a_fault_lasts_until_it_runs_steadily_and_other_ports_are_tried(folder):
    children = FakeChildren()
    kept = SuperNode(settings(), folder, folder / "s.sock", folder / "state", "m")
    kept.start(children)
    kept.look(children)
    (folder / "state" / "logs").mkdir()
    (folder / "state" / "logs" / "supernode.log").write_text(
        "\x1b[92mStarting Flower SuperNode\x1b[0m\nold\nStarting Flower SuperNode\n" + REFUSED
    )
    children.status = status("running")
    kept.look(children)
    children.status = status("pausing", returncode=1)
    for now in (children.status, status("running", starts=2, returncode=1)):
        children.status = now
        with pytest.raises(SuperNodeError, match=r"refuses this node.*\[code: 305\]"):
            kept.look(children)
    assert len(children.specs) == 1
    children.status = status("pausing", starts=4, returncode=1)
    with pytest.raises(SuperNodeError):
        kept.look(children)
    one, other = (spec.command[spec.command.index("--port") + 1] for spec in children.specs)
    assert one != other
    (folder / "state" / "logs" / "supernode.log").write_text(ADMITTED)
    children.status = status("running", uptime=21.0)
    kept.look(children)


ADMITTED = """
INFO:      Starting Flower SuperNode
INFO:      Started server process [1]
INFO:      SuperNode ID: 4711
"""


def test_one_that_was_never_let_in_is_a_fault_until_it_is(folder):
    children = FakeChildren()
    kept = SuperNode(settings(), folder, folder / "s.sock", folder / "state", "m")
    kept.start(children)
    log = folder / "state" / "logs" / "supernode.log"
    log.parent.mkdir()
    attempts = "WARNING:   Connection attempt failed, retrying in 30.00 seconds\n" * 200
    log.write_text(ADMITTED.replace("SuperNode ID: 4711", "waiting") + attempts)
    children.status = status("running", uptime=19.0)
    kept.look(children)  # it may take so long
    children.status = status("running", uptime=21.0)
    with pytest.raises(
        SuperNodeError,
        match=r"has not reached the SuperLink at 127\.0\.0\.1:9092 \(coordinator\.superlink\)"
        r".*retrying in 30\.00 seconds$",
    ):
        kept.look(children)
    log.write_text(log.read_text() + "INFO:      SuperNode ID: 4711\n")
    kept.look(children)
    log.write_text("INFO:      much later\n")  # it is remembered
    kept.look(children)


def test_a_later_process_has_to_be_let_in_itself(folder):
    children = FakeChildren()
    kept = SuperNode(settings(), folder, folder / "s.sock", folder / "state", "m")
    kept.start(children)
    log = folder / "state" / "logs" / "supernode.log"
    log.parent.mkdir()
    log.write_text(ADMITTED)
    children.status = status("running", uptime=21.0)
    kept.look(children)
    children.status = ChildStatus(node.NAME, "running", 2, 2, None, 21.0)
    with pytest.raises(SuperNodeError, match="has not reached the SuperLink"):
        kept.look(children)


def test_why_it_dropped_a_message_is_logged_once(folder, caplog):
    children = FakeChildren()
    kept = SuperNode(settings(), folder, folder / "s.sock", folder / "state", "m")
    kept.start(children)
    log = folder / "state" / "logs" / "supernode.log"
    log.parent.mkdir()
    log.write_text(ADMITTED + "ERROR:     Failed to receive message abc: Object ID mis")
    children.status = status("running")
    kept.look(children)
    assert caplog.records == []  # the line goes on
    with log.open("a") as file:
        file.write("match\n\x1b[92mINFO\x1b[0m: Receiving\n")
    kept.look(children)
    kept.look(children)
    (said,) = caplog.messages
    assert said == (
        "the SuperNode dropped a message: Failed to receive message abc: Object ID mismatch"
    )
    log.write_text("ERROR: Failed to receive message d: gone\n")  # begun anew
    kept.look(children)
    assert [m[-4:] for m in caplog.messages] == ["atch", "gone"]


def test_a_port_that_is_set_is_kept(folder):
    children = FakeChildren()
    kept = SuperNode(settings(port=4711), folder, folder / "s.sock", folder / "state", "m")
    kept.start(children)
    children.status = status("pausing", starts=9, returncode=1)
    with pytest.raises(SuperNodeError, match="ended with status 1; its log ends with: nothing"):
        kept.look(children)
    (spec,) = children.specs
    assert spec.command[-4:] == (
        *("--port", "4711"),
        *("--node-config", f'fedproof-socket="{folder / "s.sock"}"'),
    )


@pytest.mark.parametrize(
    "path",
    [
        '/tmp/q"uote/c.sock',
        "/tmp/back\\slash/c.sock",
        "/tmp/it's/c.sock",
        "/tmp/two words/c.sock",
        "/tmp/a=b c=d/c.sock",
        '/tmp/\\"\\/c.sock',
        "/tmp/Zürich/研究/😀/c.sock",
        "/tmp/line\nbreak\ttab\x7f/c.sock",
        "/tmp/#comment/c.sock",
        "/tmp/x.toml",
    ],
)
def test_a_path_of_any_name_reaches_what_flower_starts(path: str) -> None:
    assert parse_config_args([f"socket={node_setting(path)}"]) == {"socket": path}


def test_a_path_that_flower_cannot_be_given_is_named() -> None:
    with pytest.raises(ConfigError, match="this path is not UTF-8, expected a folder"):
        node_setting("/tmp/caf\udce9/c.sock")
