"""What must happen on time: duties in turn, the chain looked at when something is to be seen."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from coordinator.daemon import periodic_tasks as chain_duty
from coordinator.daemon import periodic_tasks as periodic_tasks
from coordinator.daemon.chain import SteadyClock
from coordinator.daemon.periodic_tasks import ChainTask, PeriodicTask, PeriodicTasks
from coordinator.daemon.renewal import EndWatch, FileWatch
from coordinator.daemon.status import ServiceStatus
from coordinator.http.tls import certificate_end
from coordinator.protocol.errors import ConfigError, StoreError
from coordinator.protocol.types import Wei
from tests.support.tls_files import make_tls


@dataclass
class RefusalLog:
    heard: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, what: str, why: str) -> None:
        self.heard.append((what, why))


def after(times: int, done: threading.Event, then: Callable[[int], None]) -> Callable[[], None]:
    """Return a duty that counts, does ``then`` each time and tells when it is enough."""
    count = 0

    def do() -> None:
        nonlocal count
        count += 1
        if count >= times:
            done.set()
        then(count)

    return do


def test_a_failing_duty_is_told_once_and_tried_again_and_stops_no_other():
    done, refusal_log, others = threading.Event(), RefusalLog(), []

    def fail_twice(count: int) -> None:
        if count == 1:
            raise StoreError("disk full")
        if count == 2:
            raise KeyError("a defect")

    tasks = [
        PeriodicTask("store", after(4, done, fail_twice), 0.0),
        PeriodicTask("other", lambda: others.append(1), 0.0),
    ]
    kept = PeriodicTasks(tasks, refusal_log)
    kept.start()
    assert done.wait(20)
    assert kept.stop(10)
    assert refusal_log.heard == [
        ("store", "disk full"),
        ("store", "KeyError: 'a defect'"),
        ("store", ""),
    ]
    assert len(others) >= 3


def test_a_duty_waits_its_time(monkeypatch: pytest.MonkeyPatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(periodic_tasks, "time", SimpleNamespace(monotonic=lambda: clock.now))
    kept = PeriodicTasks([task := PeriodicTask("rare", lambda: None, 30.0)], RefusalLog())
    kept._do(task)
    assert task.next_at == 130.0


@dataclass
class Chain:
    """What the duty looks at, and what it does."""

    head: int = 1
    now: float = 1_000.0
    finalizable_at: int | None = None
    final: list[int] = field(default_factory=list)
    """Round numbers by height."""
    done: list[str] = field(default_factory=list)
    broken: bool = False

    def step(self) -> list:
        if self.broken:
            raise StoreError("no")
        self.done.append("answer")
        return []

    def settle(self) -> Wei:
        return Wei(0)

    def finalize_ready(self) -> None:
        self.done.append("finalise")

    def next_to_finalize(self):
        at = self.finalizable_at
        return None if at is None else SimpleNamespace(finalizable_at=at)

    def task(self, answer_s: int = 1_800) -> ChainTask:
        ledger = SimpleNamespace(
            now=lambda: int(self.now),
            head=lambda: SimpleNamespace(last_final=self.final[-1] if self.final else 0),
            round=lambda round_id: SimpleNamespace(height=self.final.index(round_id) + 1),
            round_at_height=lambda height: self.final[height - 1],
        )
        lock = threading.RLock()
        return ChainTask(self, self, ledger, lambda: self.head, answer_s, lock)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    found = SimpleNamespace(now=50.0)
    monkeypatch.setattr(chain_duty, "time", SimpleNamespace(monotonic=lambda: found.now))
    return found


def test_the_chain_is_looked_at_when_a_block_comes(clock: SimpleNamespace):
    chain = Chain()
    task = chain.task()
    task.step()
    task.step()
    assert chain.done == ["answer", "finalise"]
    chain.head = 2
    task.step()
    assert len(chain.done) == 4
    clock.now += 29
    task.step()
    assert len(chain.done) == 4
    clock.now += 2
    task.step()
    assert len(chain.done) == 6


def test_and_when_a_window_ends(clock: SimpleNamespace):
    chain = Chain(finalizable_at=1_007)
    task = chain.task()
    task.step()
    clock.now += 6.9
    task.step()
    assert len(chain.done) == 2
    clock.now += 0.2
    task.step()
    assert len(chain.done) == 4


def test_and_often_enough_to_answer_in_time(clock: SimpleNamespace):
    chain = Chain()
    task = chain.task(answer_s=16)
    task.step()
    clock.now += 2.1
    task.step()
    assert len(chain.done) == 4


def test_what_failed_is_done_at_the_next_step(clock: SimpleNamespace):
    chain = Chain(broken=True)
    task = chain.task()
    with pytest.raises(StoreError):
        task.step()
    chain.broken = False
    task.step()
    assert chain.done == ["answer", "finalise"]


def test_chain_time_never_goes_back_and_never_stands_still():
    wall, monotonic = SimpleNamespace(now=5_000.0), SimpleNamespace(now=10.0)
    clock = SteadyClock(lambda: wall.now, lambda: monotonic.now)
    assert clock() == 5_000
    clock.not_before(4_000)
    assert clock() == 5_000
    clock.not_before(8_600)  # the chain's head is an hour ahead of this machine
    assert clock() == 8_600
    wall.now -= 7_200
    monotonic.now += 60
    assert clock() == 8_660


def test_the_board_says_what_hinders_and_keeps_the_last_errors():
    children = {"superlink": "running (pid 4)"}
    status = ServiceStatus(lambda: children)
    assert status.snapshot().not_ready == ["service: starting"]
    status.set_problem("service", "")
    status.set_phase("waiting")
    status.set_online(["0xb", "0xa"])
    seen = status.snapshot()
    assert (seen.phase, seen.online, seen.not_ready) == ("waiting", ("0xa", "0xb"), [])
    children["superlink"] = "pausing (status -9, started 2 times)"
    status.set_problem("chain", "gone")
    status.set_problem("chain", "gone")
    status.set_problem("flower", "away")
    seen = status.snapshot()
    assert seen.not_ready == [
        "chain: gone",
        "flower: away",
        "superlink: pausing (status -9, started 2 times)",
    ]
    status.set_problem("chain", "")
    assert [line.split("Z ")[1] for line in status.snapshot().errors] == [
        "chain: gone",
        "flower: away",
    ]


def test_renewed_files_are_told_once_and_only_when_they_are_whole(tmp_path: Path):
    key, certificate = tmp_path / "s.key", tmp_path / "s.crt"
    key.write_text("a")
    certificate.write_text("a")
    told: list[str] = []
    watch = FileWatch([key, certificate], lambda: told.append(key.read_text()))
    watch.step()
    watch.step()
    assert told == []
    key.write_text("longer")
    watch.step()
    certificate.write_text("longer")
    watch.step()
    assert told == []  # still changing
    watch.step()
    watch.step()
    assert told == ["longer"]
    certificate.unlink()
    with pytest.raises(ConfigError, match=r"s\.crt: No such file"):
        watch.step()
    FileWatch([], lambda: told.append("never")).step()


def test_a_renewal_that_fails_stays_a_fault_until_it_works(tmp_path: Path):
    certificate = tmp_path / "s.crt"
    certificate.write_text("good")
    used: list[str] = []

    def use() -> None:
        if (text := certificate.read_text()) == "bad":
            raise ConfigError("cannot be used")
        used.append(text)

    watch, refusal_log = FileWatch([certificate], use), RefusalLog()
    kept = PeriodicTasks([task := PeriodicTask("http certificate", watch.step, 5.0)], refusal_log)
    certificate.write_text("bad")
    for _ in range(4):
        kept._do(task)
    assert refusal_log.heard == [("http certificate", "cannot be used")] * 3
    certificate.write_text("better")
    kept._do(task)  # still changing: nothing says that it works
    assert refusal_log.heard[-1] == ("http certificate", "cannot be used")
    kept._do(task)
    kept._do(task)
    assert (refusal_log.heard[-1], used) == (("http certificate", ""), ["better"])


def test_a_certificate_that_ends_soon_is_told_once_a_day_and_one_that_ended_is_a_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    long, short, ended = (
        make_tls(tmp_path / name, days=days).certificate
        for name, days in {"long": (-1, 40), "short": (-1, 20), "ended": (-9, -1)}.items()
    )
    now = [0.0]
    watch = EndWatch([long, short, short], lambda: now[0])
    with caplog.at_level(logging.WARNING):
        for now[0] in (0.0, 5.0, 86_000.0):
            watch.step()
        assert [record.getMessage() for record in caplog.records] == [
            f"certificate {short} ends on {certificate_end(short):%Y-%m-%d}: renew it"
        ]
        now[0] = 86_500.0
        watch.step()
    assert len(caplog.records) == 2
    with pytest.raises(ConfigError, match=r"ended/.*expired on"):
        EndWatch([long, ended]).step()
    EndWatch([]).step()


def test_two_duties_of_one_name_are_refused():
    tasks = [PeriodicTask("certificates", lambda: None, 1.0) for _ in range(2)]
    with pytest.raises(ValueError, match="expected a different name"):
        PeriodicTasks(tasks, RefusalLog())


def test_every_round_that_becomes_final_is_told_once(
    clock: SimpleNamespace, caplog: pytest.LogCaptureFixture
):
    chain = Chain(final=[1, 2])
    task = chain.task()

    def told(head: int) -> list[str]:
        caplog.clear()
        with caplog.at_level("INFO", "fedproof.coordinator"):
            chain.head = head
            task.step()
        return [f"{one.message} {one.__dict__['fedproof_fields']}" for one in caplog.records]

    assert told(1) == []  # final before this service was there
    chain.final = [1, 2, 4, 5]
    assert told(2) == ["round final {'round': 4}", "round final {'round': 5}"]
    assert told(3) == []
