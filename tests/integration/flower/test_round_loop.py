"""The ServerApp's loop against the real desk and round service, over a grid with mailboxes."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from flower_bench import DOMAIN, INITIAL, MANIFEST, FlowerBench, make_bench, signer
from flwr.app import Error, Message
from flwr.common.constant import ErrorCode
from mailbox_grid import MailboxGrid

from coordinator.flower import round_loop
from coordinator.flower import streaming_grid as patient_grid
from coordinator.flower.driver_client import DriverClient
from coordinator.flower.driver_server import DriverServer
from coordinator.flower.presence import PresenceRegister
from coordinator.flower.round_loop import LoopSettings, RoundLoop
from coordinator.flower.scheduler import Pace, RoundScheduler
from coordinator.local.channel import ChannelServer
from coordinator.local.frames import ChannelClosedError
from coordinator.protocol.errors import StoreError
from coordinator.protocol.numbers.fixed_point import quantise
from coordinator.protocol.types import Wei

SCALE = 1 << 20


@dataclass
class Run:
    """A loop in progress in a thread, and all that it talks to."""

    bench: FlowerBench
    grid: MailboxGrid
    scheduler: RoundScheduler
    session: DriverServer
    path: Path
    thread: threading.Thread | None = None
    given_up: ChannelClosedError | None = None

    def go(self) -> "Run":
        def drive() -> None:
            try:
                with DriverClient(self.path, self.session.new_token(), 1) as driver:
                    RoundLoop(driver, self.grid).run()
            except ChannelClosedError as error:  # the test has given up
                self.given_up = error

        self.thread = threading.Thread(target=drive, daemon=True)
        self.thread.start()
        return self

    def end(self) -> None:
        assert self.thread is not None
        self.thread.join(60)
        assert not self.thread.is_alive()
        assert self.given_up is None

    def statuses(self) -> list[str]:
        return [r.status.word for _, r in sorted(self.bench.ledger.rounds.items())]

    def until(self, holds: Callable[[], object]) -> None:
        end = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < end
            time.sleep(0.01)


MakeRun = Callable[..., Run]


@pytest.fixture
def make_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeRun]:
    monkeypatch.setattr(patient_grid, "_POLL_S", 0.01)
    monkeypatch.setattr(patient_grid, "_LATE_EVERY_S", 0.0)
    monkeypatch.setattr(patient_grid, "_AGAIN_EVERY_S", 0.01)
    monkeypatch.setattr(round_loop, "_EAGER_S", 0.01)
    monkeypatch.setattr(round_loop, "reconnections_of", lambda grid: lambda: grid.reconnections)
    monkeypatch.setattr(round_loop, "_PAUSES_S", (0.01,))
    servers = []

    def make(rounds: int = 2, min_online: int = 4, *, sealed: bool = False) -> Run:
        bench = make_bench(sealed=sealed)
        presence_register = PresenceRegister(
            DOMAIN, Wei(1), lambda who: bench.ledger.bonds.get(who, Wei(0)), bench.ledger.now
        )
        pace = Pace(min_online, rounds, seal_margin_s=5.0, min_open_s=0)
        scheduler = RoundScheduler(bench.ledger, bench.service, presence_register, pace)
        hello = LoopSettings(MANIFEST, presence_s=0.01, pause_s=0.0, examples_cap=100)
        session = DriverServer(
            bench.service, scheduler, threading.RLock(), MANIFEST.dimension, hello.as_hello()
        )
        path = tmp_path / "s.sock"
        servers.append(
            ChannelServer(path, session.handlers(), session.limits, session.disconnected)
        )
        return Run(bench, MailboxGrid(bench), scheduler, session, path)

    yield make
    for server in servers:
        server.stop()


def model_after(rounds: int) -> np.ndarray:
    return quantise(INITIAL, MANIFEST) + rounds * 3 * SCALE // 8  # by hand in test_flower_rounds


@pytest.mark.parametrize("sealed", [False, True])
def test_rounds_are_run_until_they_are_complete(make_run: MakeRun, sealed: bool):
    run = make_run(rounds=3, sealed=sealed).go()
    run.end()
    assert run.statuses() == ["final"] * 3
    root = run.bench.ledger.head().model_root
    np.testing.assert_array_equal(run.bench.store.get_vector(root, MANIFEST), model_after(3))
    assert sorted(run.grid.presence_queries) == [2, 3, 4, 5]
    assert [run.bench.ledger.rounds[n].n for n in (1, 2, 3)] == [4, 4, 4]


def test_a_round_waits_for_enough_contributors(make_run: MakeRun):
    run = make_run(rounds=1)
    run.grid.offline = {4, 5}
    run.go()
    run.until(lambda: len(run.scheduler.attendance.present) == 2)
    assert run.statuses() == []
    run.grid.offline = set()
    run.end()
    assert run.bench.ledger.rounds[1].n == 4


def test_who_comes_during_a_round_takes_part_in_the_next(make_run: MakeRun):
    run = make_run(rounds=2, min_online=2)
    run.grid.offline, run.grid.conduct.silent = {4, 5}, {2}
    run.go()
    run.until(lambda: run.statuses() == ["open"])
    run.grid.offline = set()
    run.until(lambda: len(run.scheduler.attendance.present) == 4)
    run.grid.conduct.silent = set()
    run.end()
    assert [run.bench.ledger.rounds[n].n for n in (1, 2)] == [2, 4]


def test_a_silent_node_costs_the_round_its_time_and_nothing_else(make_run: MakeRun):
    run = make_run(rounds=1)
    run.grid.conduct.silent = {3}
    run.go()
    run.until(lambda: len(run.bench.service.state.accepted) == 3)
    assert run.statuses() == ["open"]
    run.bench.ledger.time += 3_600 - 5
    run.end()
    assert run.statuses() == ["final"]
    assert run.bench.ledger.rounds[1].n == 3
    assert run.bench.refusals(1) == {"node 3": "no-reply"}


AWAY = Error(6, "fedproof/daemon-away: nobody listens")
UNAVAILABLE = Error(ErrorCode.NODE_UNAVAILABLE, "no heartbeat")
CRASHED = Error(ErrorCode.CLIENT_APP_CRASHED, "it crashed")
GONE = Error(ErrorCode.MESSAGE_UNAVAILABLE, "not in the database")
NOT_UPLOADED = Error(ErrorCode.MESSAGE_UNAVAILABLE, "fedproof/not-uploaded: object 0123")
TOO_LARGE = Error(ErrorCode.MESSAGE_UNAVAILABLE, "fedproof/too-large: 9 bytes")


def trains_of(run: Run, node: int) -> int:
    return sum(m.metadata.dst_node_id == node and _trains(m) for m in run.grid.sent)


def test_replies_that_a_killed_superlink_took_with_it_are_asked_for_again(make_run: MakeRun):
    run = make_run(rounds=1)
    run.grid.conduct.failing = {2: GONE, 3: NOT_UPLOADED, 4: GONE}
    run.go().end()
    assert run.statuses() == ["final"]
    assert run.bench.ledger.rounds[1].n == 4
    assert [trains_of(run, node) for node in (2, 3, 4, 5)] == [2, 2, 2, 1]


def test_what_we_refuse_ourselves_is_not_asked_for_again(make_run: MakeRun):
    run = make_run(rounds=1)
    run.grid.conduct.failing = {2: TOO_LARGE, 3: TOO_LARGE, 4: TOO_LARGE}
    run.go()
    run.until(lambda: run.statuses() == ["void", "final"])
    run.end()
    assert run.bench.refusals(1) == dict.fromkeys(["node 2", "node 3", "node 4"], "too-large")


@pytest.mark.parametrize("sealed", [False, True])
def test_messages_that_the_superlink_does_not_take_are_sent_again(make_run: MakeRun, sealed: bool):
    run = make_run(rounds=1, sealed=sealed)
    run.grid.untaken = {2: 2, 3: 2, 4: 2, 5: 2}
    run.go().end()
    assert run.statuses() == ["final"]
    assert run.bench.ledger.rounds[1].n == 4
    assert run.bench.refusals(1) == {}


def test_who_cannot_be_reached_till_the_end_has_not_answered(make_run: MakeRun):
    run = make_run(rounds=1)
    run.grid.untaken = {5: 1_000_000}
    run.go().end()
    assert run.statuses() == ["final"]
    assert run.bench.ledger.rounds[1].n == 3
    assert run.bench.refusals(1) == {"node 5": "no-reply"}


def superlink_was_away(grid: MailboxGrid) -> None:
    grid.reconnections += 1


def supernodes_were_started_again(grid: MailboxGrid) -> None:
    grid.activated |= {3: "later", 4: "later"}


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("happens", [superlink_was_away, supernodes_were_started_again])
def test_whose_message_may_be_lost_is_asked_again(
    make_run: MakeRun, sealed: bool, happens: Callable[[MailboxGrid], None]
):
    run = make_run(rounds=1, sealed=sealed)
    run.grid.conduct.silent = {3, 4}
    run.go()
    run.until(lambda: all(trains_of(run, node) for node in (2, 3, 4, 5)))
    lost = [m for m in run.grid.sent if m.metadata.dst_node_id == 4 and _trains(m)]
    run.grid.box = {n: m for n, m in run.grid.box.items() if m not in lost}
    happens(run.grid)
    run.until(lambda: trains_of(run, 4) == 2)
    run.grid.conduct.silent = set()
    run.end()
    assert run.statuses() == ["final"]
    assert run.bench.ledger.rounds[1].n == 4
    assert run.bench.refusals(1) == {}
    assert [trains_of(run, node) for node in (3, 4)] == [2, 2]


@pytest.mark.parametrize("sealed", [False, True])
def test_who_failed_for_a_while_is_asked_again_where_the_round_lacks_contributors(
    make_run: MakeRun, sealed: bool
):
    run = make_run(rounds=1, sealed=sealed)
    run.grid.conduct.failing = {2: AWAY, 3: AWAY, 4: CRASHED}
    run.go().end()
    assert run.statuses() == ["final"]
    assert run.bench.ledger.rounds[1].n == 4
    assert run.bench.refusals(1) == {}
    assert [trains_of(run, node) for node in (2, 3, 4, 5)] == [2, 2, 2, 1]


def test_who_failed_and_is_not_connected_is_waited_for(make_run: MakeRun):
    run = make_run(rounds=1)
    run.grid.conduct.failing = {2: UNAVAILABLE, 3: UNAVAILABLE, 4: UNAVAILABLE}
    run.go()
    run.until(lambda: run.grid.offline == {2, 3, 4})
    run.until(lambda: len(run.bench.service.state.accepted) == 1)
    assert trains_of(run, 2) == 1
    run.grid.offline = {3, 4}
    run.end()
    assert run.bench.ledger.rounds[1].n == 2
    assert run.bench.refusals(1) == {"node 3": "client-error", "node 4": "client-error"}


def test_nobody_is_asked_again_where_the_round_has_enough(make_run: MakeRun):
    run = make_run(rounds=1)
    run.grid.conduct.failing = {2: AWAY}
    run.go().end()
    assert run.bench.ledger.rounds[1].n == 3
    assert run.bench.refusals(1) == {"node 2": "daemon-away"}
    assert trains_of(run, 2) == 1


def test_a_refusal_is_final_also_where_the_round_lacks_contributors(make_run: MakeRun):
    run = make_run(rounds=1)
    refusal = Error(6, "fedproof/limit-reached: enough for today")
    run.grid.conduct.failing = {2: refusal, 3: refusal, 4: refusal}
    run.go()
    run.until(lambda: run.statuses() == ["void", "final"])
    run.end()
    assert run.bench.refusals(1) == dict.fromkeys(["node 2", "node 3", "node 4"], "limit-reached")


def test_a_late_reply_is_fetched_and_dropped(make_run: MakeRun):
    run = make_run(rounds=3, min_online=4)
    run.grid.conduct.silent = {3}
    run.go()
    run.until(lambda: len(run.bench.service.state.accepted) == 3)
    run.bench.ledger.time += 3_600 - 5
    run.until(lambda: run.statuses() == ["final", "open"])
    run.until(lambda: len(run.bench.service.state.accepted) == 3)
    late = next(m for m in run.grid.sent if m.metadata.dst_node_id == 3 and _trains(m))
    run.grid.conduct.silent = set()
    run.end()
    assert [run.bench.ledger.rounds[n].n for n in (1, 2, 3)] == [3, 4, 4]
    assert late.metadata.message_id in run.grid.pulled
    assert run.bench.refusals(1) == {"node 3": "no-reply"}
    assert run.bench.refusals(2) == {}


def _trains(message: Message) -> bool:
    return message.metadata.message_type == "train"


def test_replies_that_are_none_are_refused_by_name(make_run: MakeRun):
    run = make_run(rounds=1)
    run.grid.conduct.wrong = {5}
    run.go().end()
    assert run.bench.ledger.rounds[1].n == 3
    assert run.bench.refusals(1) == {"node 5": "empty-reply"}


def test_a_node_that_does_not_say_whom_it_speaks_for_is_left_out(make_run: MakeRun):
    run = make_run(rounds=1, min_online=3)
    run.grid.conduct.mute = {2}
    run.go().end()
    assert run.bench.ledger.rounds[1].n == 3
    assert signer(0).address not in run.scheduler.attendance.present.values()
    assert run.grid.presence_queries.count(2) == 1


def test_rounds_that_come_to_nothing_wait_longer_and_longer(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(round_loop, "_PAUSES_S", (0.0, 0.0, 600.0))
    run = make_run(rounds=2)
    run.grid.conduct.wrong = {2, 3, 4, 5}
    run.go()
    run.until(lambda: run.statuses() == ["void"] * 3)
    beats = len(run.grid.sent)
    run.until(lambda: run.session.silent_s < 0.01)  # it rests, and is heard of all the while
    assert run.statuses() == ["void"] * 3
    assert len(run.grid.sent) == beats
    assert run.bench.refusals(3) == {f"node {n}": "empty-reply" for n in (2, 3, 4, 5)}


def test_a_full_disk_ends_an_attempt_and_the_round_is_tried_again(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
):
    run = make_run(rounds=1)
    failures = 2
    sync = run.bench.store.sync

    def full() -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise StoreError("disk full")
        sync()

    monkeypatch.setattr(run.bench.store, "sync", full)
    run.go().end()
    assert run.statuses() == ["final"]
    root = run.bench.ledger.head().model_root
    np.testing.assert_array_equal(run.bench.store.get_vector(root, MANIFEST), model_after(1))
    trains = [m for m in run.grid.sent if _trains(m)]
    assert len(trains) == 12  # asked three times, answered with the same bytes each time
