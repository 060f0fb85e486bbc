"""Questions to itself that push the watcher's answer past the time to ask again.

How long an answer may take grows with the open cases of a round. 193 questions of the coordinator's
own make every answer due when nothing can be asked any more, so that a dispute that needs two
questions, one for each withheld record, cannot be led to its end.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from fraud_bench import GUILTY, FraudBench
from known_weakness import attacker_fails, known_weakness

from contracts.binding import referee_calls
from coordinator.audit.responder import Responder
from coordinator.audit.watch.rounds import RoundReader
from coordinator.protocol.disputes import CaseKind, answer_to, record_moves
from coordinator.protocol.types import RoundId, Wei
from coordinator.stores.disk import DiskStore
from simulations.run.chain import finalize_all

DEPOSIT = Wei(10**16)
QUESTIONS = 193
A_BLOCK = 32
DEFAULT_WINDOWS = {
    "challenge_window_s": 3600,
    "answer_s": 1800,
    "unbonding_s": 86400,
    "min_open_s": 0,
}
OPEN = 1


def disputed(bench: FraudBench, folder: Path, *, questions: int) -> None:
    """Withhold a false round's contributors, and answer for it in the last second each time."""
    chain, coordinator = bench.chain, bench.chain.identities.coordinator
    for _ in range(GUILTY):
        bench.play(watched=False)
    private = folder / "private"
    shutil.copytree(bench.folder / "blobs", private)
    root = chain.federation.round(RoundId(GUILTY)).contributors_root
    bench.public.path(root, "contributors.json").unlink()
    rounds = RoundReader(chain.federation, DiskStore(private, read_only=True))
    false_round = rounds.read(RoundId(GUILTY))
    own = referee_calls.ask(record_moves.demand_record(false_round, CaseKind.RULE), DEPOSIT)
    for first in range(0, questions, A_BLOCK):
        chain.referee.transact_each(coordinator, [own] * min(A_BLOCK, questions - first))
    responder = Responder(chain.federation, chain.referee, rounds, coordinator)
    watcher = bench.watcher()
    while True:
        while watcher.step():
            continue
        due = watcher.next_deadline()
        if due is None:
            break
        for case in sorted(chain.referee.open_cases(), key=lambda case: case.due):
            if case.challenger == coordinator.address and case.due < due and case.state == OPEN:
                chain.wait_until(min(case.due - 1, due - 1))
                chain.referee.answer(
                    coordinator, case.case_id, answer_to(false_round, case.open_case)
                )
        chain.wait_until(due - 1)
        responder.step()
    finalize_all(chain)


@known_weakness("a flood delays every answer")
def test_known_weakness_a_flood_of_its_own_questions_outlasts_the_time_to_ask(
    make_bench: Callable[..., FraudBench], tmp_path: Path
) -> None:
    bench = make_bench({"kind": "shift_parameter", "parameter": 11}, chain=DEFAULT_WINDOWS)
    disputed(bench, tmp_path, questions=QUESTIONS)
    attacker_fails(bench.statuses()[GUILTY - 1] == "void", "the false round is final")


def test_without_the_flood_the_watcher_convicts(
    make_bench: Callable[..., FraudBench], tmp_path: Path
) -> None:
    bench = make_bench({"kind": "shift_parameter", "parameter": 11}, chain=DEFAULT_WINDOWS)
    disputed(bench, tmp_path, questions=0)
    assert bench.statuses()[GUILTY - 1] == "void"
