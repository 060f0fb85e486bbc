"""A coordinator that withholds a document of a false round, and shows each record when asked."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fraud_bench import ETHER, GUILTY, FraudBench

from coordinator.audit.responder import Responder
from coordinator.audit.watch.rounds import RoundReader
from coordinator.audit.watch.watcher import Watcher
from coordinator.protocol.round.chain_round import ChainRound
from coordinator.protocol.types import Address, RewardLeaf, RoundId, ScoredRound, Wei
from coordinator.stores.disk import DiskStore
from simulations.run.disputes import DishonestReply

Make = Callable[..., FraudBench]
Forge = Callable[[ScoredRound], ScoredRound]

SHIFT = {"kind": "shift_parameter", "parameter": 11}
PAY_SELF = {"kind": "pay_self"}
DEPOSIT = 10**16
THIEF = Address("0x" + "11" * 20)


def settle_falsely(bench: FraudBench, forge: Forge) -> None:
    """Let the guilty round be settled with what ``forge`` makes of the settlement."""
    service: Any = bench.service

    def settlement(chain_round: ChainRound, honest: ScoredRound) -> ScoredRound:
        return forge(honest) if chain_round.round_id == GUILTY else honest

    service._settler._drafted = settlement


def shift_payment(settlement: ScoredRound) -> ScoredRound:
    """One member's wei goes to another; the sum stays."""
    first, second, *others = settlement.rewards
    first = replace(first, cumulative_wei=Wei(first.cumulative_wei - 1))
    second = replace(second, cumulative_wei=Wei(second.cumulative_wei + 1))
    return replace(settlement, rewards=[first, second, *others])


def shuffle_scores(settlement: ScoredRound) -> ScoredRound:
    """The scores in another order: the same leaves in a tree that no honest coordinator makes."""
    return replace(shift_payment(settlement), scores=settlement.scores[::-1])


def hide_reward(settlement: ScoredRound) -> ScoredRound:
    """One more leaf, of somebody who is no member."""
    return replace(settlement, rewards=[*settlement.rewards, RewardLeaf(THIEF, Wei(ETHER))])


def withheld(bench: FraudBench, root: str, suffix: str, aside: Path) -> Responder:
    """Play two rounds, take a document of the second away; return who answers nevertheless."""
    bench.play(watched=False)
    bench.play(watched=False)
    shutil.copytree(bench.folder / "blobs", aside)
    state = bench.chain.ledger.round(RoundId(GUILTY))
    bench.public.path(getattr(state, root), suffix).unlink()
    chain, store = bench.chain, DiskStore(aside, read_only=True)
    rounds = RoundReader(chain.federation, store)
    return Responder(chain.federation, chain.referee, rounds, chain.identities.coordinator)


def fought_out(watcher: Watcher, hidden: Responder) -> None:
    while watcher.step() or hidden.step():
        continue


@pytest.mark.parametrize(
    ("attack", "forge", "root", "suffix", "document", "offence", "records"),
    [
        (SHIFT, None, "contributors_root", "contributors.json", "contributor", "aggregate", 5),
        (PAY_SELF, None, "scores_root", "scores.json", "score", "not a member", 5),
        (None, shift_payment, "rewards_root", "rewards.json", "reward", "wrong value", 5),
        (None, shuffle_scores, "scores_root", "scores.json", "score", "wrong value", 5),
    ],
    ids=["contributors", "scores", "rewards", "scores in another order"],
)
def test_a_false_round_behind_a_withheld_document_is_convicted(
    make_bench: Make,
    tmp_path: Path,
    attack: dict | None,
    forge: Forge | None,
    root: str,
    suffix: str,
    document: str,
    offence: str,
    records: int,
) -> None:
    bench = make_bench(*([attack] if attack else []))
    if forge is not None:
        settle_falsely(bench, forge)
    hidden = withheld(bench, root, suffix, tmp_path / "aside")
    watcher = bench.watcher()
    fought_out(watcher, hidden)
    assert bench.said("found")[0].startswith(f"{document} withheld")
    assert len(bench.said("asked")) == records
    assert bench.statuses() == ["settled", "void"]
    assert offence in bench.reason(GUILTY)
    assert bench.bond_wei == 8 * ETHER
    assert bench.said("gave up") == []


def test_a_reward_that_nobody_is_told_of_leaves_a_question_unanswered(
    make_bench: Make, tmp_path: Path
) -> None:
    """All true leaves could be shown, were there not a place that one of them lacks."""
    bench = make_bench()
    settle_falsely(bench, hide_reward)
    hidden = withheld(bench, "rewards_root", "rewards.json", tmp_path / "aside")
    watcher = bench.watcher()
    fought_out(watcher, hidden)
    assert len(bench.said("asked")) == 5
    assert bench.statuses() == ["settled", "settled"]
    while (due := watcher.next_deadline()) is not None and bench.statuses()[1] != "void":
        bench.chain.wait_until(due)
        fought_out(watcher, hidden)
    assert bench.statuses() == ["settled", "void"]
    assert bench.reason(GUILTY) == "withheld data"
    assert bench.bond_wei == 8 * ETHER


def test_records_are_paid_for_no_further_than_agreed(make_bench: Make, tmp_path: Path) -> None:
    bench = make_bench(SHIFT)
    hidden = withheld(bench, "contributors_root", "contributors.json", tmp_path / "aside")
    fought_out(bench.watcher(records=3), hidden)
    assert len(bench.said("asked")) == 3
    assert bench.said("gave up") == ["nothing is left to ask; see fedproof verify"]
    # Another pays for what is missing, not for what everybody can read.
    fought_out(bench.watcher(bench.chain.identities.contributors[0], records=2), hidden)
    assert len(bench.said("asked")) == 5
    assert bench.reason(GUILTY) == "wrong aggregate"


def test_one_question_comes_first_where_there_is_time_to_wait(
    make_bench: Make, tmp_path: Path
) -> None:
    times = {"challenge_window_s": 600, "answer_s": 100}
    bench = make_bench(SHIFT, chain=times)
    hidden = withheld(bench, "contributors_root", "contributors.json", tmp_path / "aside")
    watcher, chain = bench.watcher(), bench.chain
    assert watcher.step()
    assert not watcher.step()  # silence would convict, at the price of one
    assert chain.referee.case_count() == 1
    assert len(hidden.step()) == 1
    before = chain.node.head_number
    assert watcher.step()
    assert (chain.referee.case_count(), chain.node.head_number) == (5, before + 1)
    fought_out(watcher, hidden)
    assert bench.reason(GUILTY) == "wrong aggregate"


def test_all_questions_go_out_at_once_where_there_is_no_time(
    make_bench: Make, tmp_path: Path
) -> None:
    bench = make_bench(SHIFT, chain={"challenge_window_s": 120, "answer_s": 200})
    hidden = withheld(bench, "contributors_root", "contributors.json", tmp_path / "aside")
    watcher, chain = bench.watcher(), bench.chain
    assert watcher.step()
    assert chain.referee.case_count() == 5
    # Answered at the last moment, after which nothing may be asked any more.
    chain.wait_until(chain.node.next_timestamp + 190)
    assert len(hidden.step()) == 5
    fought_out(watcher, hidden)
    assert bench.reason(GUILTY) == "wrong aggregate"


def test_what_was_read_in_full_cannot_be_taken_back(make_bench: Make) -> None:
    bench = make_bench({**SHIFT, "answers": "false"})
    bench.play(watched=False)
    bench.play(watched=False)
    watcher, chain = bench.watcher(interactive=True), bench.chain
    rounds = RoundReader(chain.federation, DiskStore(bench.folder / "copy", read_only=True))
    shutil.copytree(bench.folder / "blobs", bench.folder / "copy")
    coordinator = chain.identities.coordinator
    reply = DishonestReply(bench.attacker)
    liar = Responder(chain.federation, chain.referee, rounds, coordinator, reply)
    assert watcher.step()  # asks for the column
    shutil.rmtree(bench.folder / "blobs")
    while watcher.step() or liar.step():
        continue
    assert bench.reason(GUILTY) == "wrong aggregate"
