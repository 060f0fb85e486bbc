"""The engine: always a run going, whatever ends, hangs or does not answer."""

import itertools
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from coordinator.flower import engine as engine_module
from coordinator.flower import processes as flower_processes
from coordinator.flower.driver_server import Lease
from coordinator.flower.engine import ATTACH_S, SILENCE_S, Engine
from coordinator.flower.processes import EngineSettings, FlowerProcesses
from coordinator.flower.superlink_control import SuperLinkError
from coordinator.local.channel import Peer
from coordinator.local.children import ChildSpec, ChildStatus
from coordinator.protocol.wire import RUN_TOKEN


@dataclass
class Processes:
    """A SuperLink and an executor, up or not."""

    up: bool = True
    restarted: list[str] = field(default_factory=list)
    app: Path = Path("/app")
    settings: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(registry=Path("/none"), ca=None)
    )

    def is_up(self) -> bool:
        return self.up

    def restart(self, name: str, why: str) -> None:
        self.restarted.append(name)


@dataclass
class Control:
    """A SuperLink's control interface."""

    runs: list[int] = field(default_factory=list)
    stopped: list[int] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    deaf: bool = False
    answers: bool = False
    closed: bool = False

    def close(self) -> None:
        self.closed = True

    def unfinished_runs(self) -> list[int]:
        return [run for run in self.runs if run not in self.stopped]

    def stop_run(self, run_id: int) -> None:
        self.stopped.append(run_id)

    def start_run(self, app: Path, config: dict) -> int:
        if self.deaf:
            raise SuperLinkError("no answer", answered=self.answers)
        self.tokens.append(config[RUN_TOKEN])
        self.runs.append(100 + len(self.runs))
        return self.runs[-1]


@dataclass
class DriverServer:
    """Who drives."""

    lease: Lease | None = None
    is_idle: bool = True
    silent_s: float = 0.0
    tokens: int = 0

    def new_token(self) -> str:
        self.lease = None
        self.tokens += 1
        return f"t{self.tokens}"

    def attach(self, pid: int = 1) -> None:
        self.lease = Lease(1, 1, Peer(1, pid))


class Stage:
    """An engine whose looks are called by hand, at a time of ours."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        clock = SimpleNamespace(monotonic=lambda: self.now)
        monkeypatch.setattr(engine_module, "time", clock)
        self.processes, self.control, self.session = Processes(), Control(), DriverServer()
        self.wanted = True
        self.said: dict[str, str] = {}
        self.engine = Engine(
            self.processes,
            self.session,
            lambda: self.wanted,
            self.said.__setitem__,
            lambda _processes: self.control,
        )

    def look(self, after_s: float = 0.25) -> int | None:
        self.now += after_s
        self.engine.look()
        return self.engine.run_id


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def test_a_run_is_started_when_the_superlink_is_up_and_old_ones_are_stopped(stage: Stage):
    stage.control.runs = [7]
    stage.processes.up = False
    assert stage.look() is None
    stage.processes.up = True
    run = stage.look()
    assert (stage.control.stopped, run) == ([7], 101)
    assert stage.control.tokens == ["t1"]
    stage.session.attach()
    assert stage.look() == 101
    assert stage.said == {"flower": ""}
    assert stage.look(50) == 101


def test_a_server_app_that_ends_is_followed_at_once_by_the_next(stage: Stage):
    first = stage.look()
    stage.session.attach()
    stage.look(30)
    stage.session.lease = None
    second = stage.look()
    assert second not in (None, first)
    assert stage.control.stopped == [first]
    assert stage.control.tokens[0] != stage.control.tokens[1]


def test_one_that_keeps_ending_is_started_less_and_less_often(stage: Stage):
    starts = []
    for _ in range(200):
        before = len(stage.control.runs)
        stage.look()
        if len(stage.control.runs) > before:
            starts.append(stage.now)
            stage.session.attach()
            stage.look(0.01)
            stage.session.lease = None
    gaps = [b - a for a, b in itertools.pairwise(starts)]
    assert gaps[0] < 1
    assert gaps == sorted(gaps)
    assert 9 < gaps[-1] < 12


def test_when_rounds_are_complete_no_run_is_started(stage: Stage):
    run = stage.look()
    stage.session.attach()
    stage.look()
    stage.wanted, stage.session.lease = False, None
    assert stage.look() is None
    assert stage.look(100) is None
    assert stage.control.runs == [run]
    assert stage.said == {"flower": ""}


def test_one_that_never_attaches_costs_the_executor_a_restart(stage: Stage):
    first = stage.look()
    assert stage.look(ATTACH_S - 1) == first
    assert stage.processes.restarted == []
    stage.look(2)
    assert stage.processes.restarted == ["superexec"]
    assert stage.look() not in (None, first)


def test_one_that_hangs_is_killed_unless_a_call_is_being_answered(stage: Stage):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    first = stage.look()
    stage.session.attach(process.pid)
    stage.session.silent_s, stage.session.is_idle = SILENCE_S + 1, False
    assert stage.look() == first
    stage.session.is_idle = True
    second = stage.look()
    assert second not in (None, first)
    assert process.wait(30) == -9


def test_a_superlink_that_answers_nothing_is_restarted(stage: Stage):
    stage.control.deaf = True
    for _ in range(3):
        assert stage.processes.restarted == []
        assert stage.look(2) is None
    assert stage.processes.restarted == ["superlink"]
    assert stage.said["flower"] == "no answer"
    stage.control.deaf = False
    assert stage.look(2) is not None


def test_a_superlink_that_refuses_is_alive_and_asked_again(stage: Stage):
    stage.control.deaf, stage.control.answers = True, True
    for _ in range(5):
        assert stage.look(2) is None
    assert stage.processes.restarted == []
    stage.control.deaf = False
    assert stage.look(2) is not None


def test_a_superlink_that_goes_away_is_told_and_the_run_kept(stage: Stage):
    run = stage.look()
    stage.session.attach()
    stage.look()
    stage.processes.up = False
    assert stage.look() == run
    assert stage.said["flower"] == "the SuperLink is not up"
    stage.processes.up = True
    assert stage.look() == run
    assert stage.said["flower"] == ""


class Children:
    """The service's children, without processes."""

    def __init__(self) -> None:
        self.specs: dict[str, ChildSpec] = {}
        self.starts = 0

    def add(self, spec: ChildSpec) -> None:
        self.specs[spec.name] = spec

    def find(self, name: str) -> ChildStatus:
        self.starts += 1
        return ChildStatus(name, "running", 1, self.starts, None, 0.0)


def flower(tmp_path: Path, children: Children, *, tls: bool) -> FlowerProcesses:
    file = tmp_path / "x.pem" if tls else None
    settings = EngineSettings("127.0.0.1", 1, file, file, file, tmp_path / "r.json", 48)
    socket = tmp_path / "s.sock"
    return FlowerProcesses(settings, tmp_path / "f", tmp_path / "logs", children, "mark", socket)


def test_flowers_processes_get_what_they_need_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FEDPROOF_PASSWORD", "swordfish")
    children = Children()
    flower(tmp_path, children, tls=True).start()
    link, executor = (children.specs[name] for name in ("superlink", "superexec"))
    assert "--enable-supernode-auth" in link.command
    assert "--insecure" not in link.command + executor.command
    for spec in (link, executor):
        assert "swordfish" not in " ".join([*spec.command, *spec.environment.values()])
        assert spec.environment["FLWR_TELEMETRY_ENABLED"] == "0"
        assert spec.environment["FEDPROOF_MARK"] == "mark"
        assert spec.environment["FEDPROOF_SOCKET"] == str(tmp_path / "s.sock")
    for name in ("guard.json", "executor.secret"):
        assert (tmp_path / "f" / name).stat().st_mode & 0o777 == 0o600
    plain = Children()
    flower(tmp_path, plain, tls=False).start()
    assert "--insecure" in plain.specs["superlink"].command


def test_a_database_no_superlink_comes_up_with_is_put_aside_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    children = Children()
    processes = flower(tmp_path, children, tls=False)
    processes.start()
    database = tmp_path / "f" / "flower.db"
    database.write_text("damaged")
    for _ in range(flower_processes._DATABASE_LIVES - 1):
        assert not processes.is_up()
    assert database.exists()
    assert not processes.is_up()
    assert not database.exists()
    assert (tmp_path / "f" / "flower.db.aside").read_text() == "damaged"


def test_a_renewal_during_a_call_closes_the_connection_after_it_and_for_good(
    monkeypatch: pytest.MonkeyPatch,
):
    stage = Stage(monkeypatch)
    made: list[Control] = []

    class Renewing(Control):
        """In whose first call certificates are renewed, by the upkeep's thread."""

        def unfinished_runs(self) -> list[int]:
            if len(made) == 1:
                renewing = threading.Thread(target=stage.engine.renew)
                renewing.start()
                renewing.join(20)
            assert not self.closed
            return super().unfinished_runs()

    def connect(_processes: Processes) -> Control:
        made.append(Renewing())
        return made[-1]

    stage.engine = Engine(
        stage.processes, stage.session, lambda: stage.wanted, stage.said.__setitem__, connect
    )
    stage.look()
    assert [one.closed for one in made] == [True]
    assert stage.processes.restarted == ["superlink", "superexec"]
    stage.session.attach()
    stage.look()
    stage.session.lease = None
    stage.look()
    assert [one.closed for one in made] == [True, False]
    assert stage.said == {"flower": ""}
    stage.engine.stop(0.0)
    assert [one.closed for one in made] == [True, True]


def test_nodes_are_synced_while_a_renewal_closes_nothing_under_them(
    monkeypatch: pytest.MonkeyPatch,
):
    stage = Stage(monkeypatch)
    stage.processes.settings.ca = Path("/ca")
    seen: list[bool] = []

    def sync(control: Control) -> None:
        stage.engine.renew()
        seen.append(control.closed)

    stage.engine._nodes = SimpleNamespace(sync=lambda control: None)
    stage.look()
    stage.engine._nodes = SimpleNamespace(sync=sync)
    stage.engine.sync_nodes()
    assert seen == [False]
    assert stage.control.closed
