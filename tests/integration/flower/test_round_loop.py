"""The ServerApp's loop against the real desk and round service, over a grid with mailboxes."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from flower_bench import DOMAIN, INITIAL, MANIFEST, FlowerBench, make_bench, signer
from flwr.app import ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from mailbox_grid import MailboxGrid

from coordinator.daemon.evaluation import Measures, ParticipantsEvaluation
from coordinator.flower import round_loop
from coordinator.flower import streaming_grid as patient_grid
from coordinator.flower.driver_client import DriverClient
from coordinator.flower.driver_server import DriverServer
from coordinator.flower.presence import PresenceRegister
from coordinator.flower.records import (
    agreed_layout,
    instruction_content,
    instruction_records,
    read_submission,
    vector_array,
)
from coordinator.flower.round_loop import LoopSettings, RoundLoop
from coordinator.flower.scheduler import Pace, RoundScheduler
from coordinator.local.channel import ChannelServer
from coordinator.local.frames import ChannelClosedError
from coordinator.ports import RoundAnnouncement
from coordinator.protocol.errors import StoreError
from coordinator.protocol.numbers.fixed_point import quantise
from coordinator.protocol.round.evaluation import PublicResult, Spread
from coordinator.protocol.round.feed import FeedItem, RoundEvaluated, RoundFeed
from coordinator.protocol.types import RoundId, Wei
from coordinator.settings.evaluation import Evaluation
from coordinator.stores.evaluations import EvaluationFolder

SCALE = 1 << 20


@dataclass
class Run:
    """A loop in progress in a thread, and all that it talks to."""

    bench: FlowerBench
    grid: MailboxGrid
    scheduler: RoundScheduler
    session: DriverServer
    path: Path
    evaluations: EvaluationFolder
    outcomes: list[str]
    published: list[FeedItem]
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

    def make(
        rounds: int = 2,
        min_online: int = 4,
        *,
        sealed: bool = False,
        every: int = 0,
        evaluation_s: float = 30.0,
        public: Measures | None = None,
    ) -> Run:
        bench = make_bench(sealed=sealed)
        presence_register = PresenceRegister(
            DOMAIN, Wei(1), lambda who: bench.ledger.bonds.get(who, Wei(0)), bench.ledger.now
        )
        pace = Pace(min_online, rounds, seal_margin_s=5.0, min_open_s=0)
        scheduler = RoundScheduler(bench.ledger, bench.service, presence_register, pace)
        wait_s = evaluation_s if every else 0.0
        hello = LoopSettings(MANIFEST, 0.01, 0.0, examples_cap=100, evaluation_s=wait_s)
        folder, outcomes = EvaluationFolder(tmp_path / "evaluations"), list[str]()
        feed, published = RoundFeed(), list[FeedItem]()
        feed.subscribe(published.append)
        evaluation = ParticipantsEvaluation(
            Evaluation(every=every or 1),
            bench.plan.rule,
            bench.ledger,
            bench.service,
            folder,
            lambda: scheduler.attendance.present,
            lambda: scheduler.is_complete,
            outcomes.append,
            feed,
            public,
        )
        session = DriverServer(
            bench.service,
            scheduler,
            threading.RLock(),
            MANIFEST.dimension,
            hello.as_hello(),
            evaluations=evaluation if every else None,
        )
        path = tmp_path / "s.sock"
        servers.append(
            ChannelServer(path, session.handlers(), session.limits, session.disconnected)
        )
        return Run(bench, MailboxGrid(bench), scheduler, session, path, folder, outcomes, published)

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
    told = {
        (message.metadata.group_id, message.content.config_records["config"]["server-round"])
        for message in run.grid.sent
        if _trains(message)
    }
    assert told == {("1", 1), ("2", 2), ("3", 3)}


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


# --- evaluation between rounds ---------------------------------------------------------------


def evaluates_of(run: Run) -> list[tuple[str, int]]:
    """Return round and node of each question for an evaluation."""
    asked = [m.metadata for m in run.grid.sent if m.metadata.message_type == "evaluate"]
    return [(metadata.group_id, metadata.dst_node_id) for metadata in asked]


def says(**values: object) -> Callable[[Message], Message]:
    """Return a handler of evaluate messages that says this, whatever the model is."""

    def evaluate(message: Message) -> Message:
        record = MetricRecord()
        vars(record)["_data"] = dict(values)  # Flower's own checks are not those of a stranger
        return Message(RecordDict({"metrics": record}), reply_to=message)

    return evaluate


@pytest.mark.parametrize("sealed", [False, True])
def test_participants_evaluate_the_model_that_a_round_ended_with(make_run: MakeRun, sealed: bool):
    run = make_run(rounds=2, every=1, sealed=sealed).go()
    run.end()
    assert run.statuses() == ["final"] * 2
    for number, summary in enumerate(run.evaluations.last(9), 1):
        chain_round = run.bench.ledger.rounds[number]
        assert (summary.round_id, summary.model_root) == (number, chain_round.new_model_root)
        assert (summary.asked, summary.answered, summary.examples) == (4, 4, 20)
        total = float(dequantised(model_after(number)))
        assert summary.metrics["total"] == Spread(total, total, total, total)
    assert len(run.evaluations.last(9)) == 2
    totals = [RoundEvaluated({"total": float(dequantised(model_after(n)))}) for n in (1, 2)]
    assert run.published == [FeedItem(RoundId(n), totals[n - 1]) for n in (1, 2)]
    assert run.outcomes == ["accepted"] * 8
    document = run.evaluations._files.get(RoundId(2))
    assert sorted(document["claims"]) == sorted(signer(n).address for n in range(4))


def dequantised(vector: np.ndarray) -> np.ndarray:
    return vector.astype(np.float64).sum() / SCALE


def test_a_federation_without_evaluation_asks_nobody(make_run: MakeRun):
    run = make_run(rounds=2).go()
    run.end()
    assert evaluates_of(run) == []
    assert not (run.path.parent / "evaluations").exists()


def test_evaluations_are_as_often_as_agreed_and_after_the_last_round(make_run: MakeRun):
    run = make_run(rounds=5, every=2).go()
    run.end()
    assert run.evaluations.rounds() == [2, 4, 5]
    assert {group for group, _ in evaluates_of(run)} == {"2", "4", "5"}


HUGE = 1 << 62


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"num-examples": 5, "total": float("nan")}, "bad-metrics"),
        ({"num-examples": 5, "total": float("inf")}, "bad-metrics"),
        ({"num-examples": 5, "total": 1e300}, "bad-metrics"),
        ({"num-examples": 5, "total": HUGE}, "bad-metrics"),
        ({"num-examples": 5, "total": "much"}, "bad-metrics"),
        ({"num-examples": 5, "total": True}, "bad-metrics"),
        ({"num-examples": 5, "\x1b[31m": 1.0}, "bad-metrics"),
        ({"num-examples": 5, "accuracy": 1.5}, "bad-metrics"),
        ({"num-examples": 0, "total": 1.0}, "bad-examples"),
        ({"num-examples": 2.0, "total": 1.0}, "bad-examples"),
        ({"total": 1.0}, "missing-examples"),
        ({f"m{n}": 1.0 for n in range(65)}, "bad-metrics"),
    ],
)
def test_a_hostile_evaluation_is_counted_and_changes_nothing(
    make_run: MakeRun, answer: dict[str, object], code: str
):
    run = make_run(rounds=1, every=1)
    run.grid.conduct.evaluating = {3: says(**answer)}
    run.go().end()
    assert run.statuses() == ["final"]
    (summary,) = run.evaluations.last(9)
    assert (summary.asked, summary.answered, summary.refused) == (4, 3, {code: 1})
    assert summary.metrics["total"].mean == float(dequantised(model_after(1)))
    assert sorted(run.outcomes) == ["accepted"] * 3 + ["refused"]


def test_one_participants_claim_weighs_no_more_than_its_cap(make_run: MakeRun):
    run = make_run(rounds=1, every=1)
    run.grid.conduct.evaluating = {
        2: says(**{"num-examples": HUGE, "accuracy": 1.0}),
        **{n: says(**{"num-examples": 50, "accuracy": 0.5}) for n in (3, 4, 5)},
    }
    run.go().end()
    (summary,) = run.evaluations.last(9)
    assert summary.metrics["accuracy"] == Spread(0.7, 0.5, 0.5, 1.0)  # (100 + 75) / 250


def test_errors_and_replies_that_are_none_are_no_evaluations(make_run: MakeRun):
    def fails(message: Message) -> Message:
        return Message(Error(3, "application: ValueError"), reply_to=message)

    def is_empty(message: Message) -> Message:
        return Message(RecordDict(), reply_to=message)

    run = make_run(rounds=1, every=1)
    run.grid.conduct.evaluating = {2: fails, 3: is_empty}
    run.go().end()
    assert run.statuses() == ["final"]
    (summary,) = run.evaluations.last(9)
    assert summary.refused == {"client-error": 1, "empty-reply": 1}
    assert summary.answered == 2


def test_a_silent_node_is_waited_for_and_then_left_out_for_a_while(make_run: MakeRun):
    run = make_run(rounds=5, every=1, evaluation_s=0.3)
    run.grid.conduct.evaluating = {4: None}
    run.go().end()
    assert run.statuses() == ["final"] * 5
    assert [run.bench.ledger.rounds[n].n for n in (1, 2, 3, 4, 5)] == [4] * 5
    assert [int(group) for group, node in evaluates_of(run) if node == 4] == [1, 3]
    assert [s.refused for s in run.evaluations.last(9)] == [
        {"no-reply": 1}, {}, {"no-reply": 1}, {}, {}
    ]  # fmt: skip
    assert run.outcomes.count("no-reply") == 2


def test_an_evaluation_that_a_killed_server_app_left_undone_comes_before_the_next_round(
    make_run: MakeRun,
):
    run = make_run(rounds=2, every=1)
    announced = run.bench.service.open_round()
    for node in (2, 3, 4, 5):
        offer(run, announced, node)
    run.bench.service.close_round()
    run.go().end()
    assert run.statuses() == ["final"] * 2
    assert run.evaluations.rounds() == [1, 2]
    kinds = [m.metadata.message_type for m in run.grid.sent if m.metadata.message_type != "query"]
    assert kinds == ["evaluate"] * 4 + ["train"] * 4 + ["evaluate"] * 4


def offer(run: Run, announced: RoundAnnouncement, node: int) -> None:
    layout, service = agreed_layout(MANIFEST, ()), run.bench.service
    told = instruction_content(layout, ConfigRecord(), sealed=False)
    instruction = service.sign_instruction(announced.round_id, "train", told)
    content = instruction_records(announced, vector_array(announced.model), layout, instruction)
    asked = Message(content, node, "train", group_id=str(announced.round_id))
    vars(asked.metadata)["_message_id"] = f"early{node}"
    given = read_submission(run.grid.answer(asked).content, MANIFEST.dimension)
    run.bench.service.submit(given.signed, given.vector, given.metrics)


class Slow:
    """A public set whose evaluation begins when the participants have answered."""

    def __init__(self, run: list[Run]) -> None:
        self.run, self.models = run, list[list[int]]()

    def measure(self, model: np.ndarray) -> PublicResult:
        (run,) = self.run
        run.until(lambda: len(run.outcomes) == 4 * (len(self.models) + 1))
        self.models.append(model.tolist())
        return PublicResult(10, 7, 0.5)


class Broken:
    def measure(self, model: np.ndarray) -> PublicResult:
        raise RuntimeError("a defect")


def test_the_coordinator_evaluates_on_the_public_set_itself(make_run: MakeRun):
    runs: list[Run] = []
    public = Slow(runs)
    run = make_run(rounds=2, every=1, public=public)
    runs.append(run)
    run.go().end()
    assert public.models == [model_after(1).tolist(), model_after(2).tolist()]
    assert [s.public for s in run.evaluations.last(9)] == [PublicResult(10, 7, 0.5)] * 2
    (first, _) = run.published
    assert isinstance(first.event, RoundEvaluated)
    assert first.event.metrics["public.accuracy"] == 0.7


def test_a_defect_in_the_public_sets_evaluation_costs_that_and_nothing_else(make_run: MakeRun):
    run = make_run(rounds=2, every=1, public=Broken())
    run.go().end()
    assert run.statuses() == ["final"] * 2
    assert [(s.answered, s.public) for s in run.evaluations.last(9)] == [(4, None)] * 2


def test_a_full_disk_costs_the_evaluation_and_no_round(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
):
    run = make_run(rounds=2, every=1)

    def full(*_: object) -> None:
        raise StoreError("disk full")

    monkeypatch.setattr(run.evaluations._files, "put", full)
    run.go().end()
    assert run.statuses() == ["final"] * 2
    assert run.evaluations.rounds() == []
    assert run.evaluations.newest is not None
    assert run.evaluations.newest.round_id == 2
