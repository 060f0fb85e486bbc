"""The watcher over the embedded chain: columns, false challenges, rivals, restarts, dry runs."""

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fraud_bench import ETHER, INITIAL, FraudBench, experiment, update_of

from contracts.binding import calls
from coordinator.audit.responder import Responder
from coordinator.audit.watch.rounds import RoundReader
from coordinator.audit.watch.watcher import Watcher
from coordinator.protocol.commitments.digests import rule_hash
from coordinator.protocol.disputes import CaseKind, find_faults, moves, record_moves
from coordinator.protocol.errors import ConfigError, TransactionRevertedError
from coordinator.protocol.types import Address, RoundId
from coordinator.service.archive import publish_plan
from coordinator.stores.disk import DiskStore
from simulations.run.disputes import DishonestReply

Make = Callable[..., FraudBench]

SHIFT = {"kind": "shift_parameter", "parameter": 11}
DEPOSIT = 10**16


def responder(bench: FraudBench, store: object = None) -> Responder:
    """The coordinator's responder; it answers from ``store``, or what is public."""
    chain = bench.chain
    rounds = RoundReader(chain.federation, store or bench.public)  # type: ignore[arg-type]
    coordinator, reply = chain.identities.coordinator, DishonestReply(bench.attacker)
    return Responder(chain.federation, chain.referee, rounds, coordinator, reply)


def guilty_round(bench: FraudBench) -> None:
    """Two rounds, the second false, nobody watching."""
    bench.play(watched=False)
    bench.play(watched=False)


# --- columns ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["fedavg", "median", "trimmed_mean"])
@pytest.mark.parametrize(
    ("answers", "proof"), [("right", "prove_last"), ("false", "prove_"), ("none", "timeout")]
)
def test_a_column_leads_to_a_conviction_whatever_the_coordinator_answers(
    make_bench: Make, rule: str, answers: str, proof: str
) -> None:
    bench = make_bench(
        {**SHIFT, "answers": answers}, aggregator={"kind": rule}, watcher={"interactive": True}
    )
    for _ in range(3):
        bench.play()
    offence = "no answer" if answers == "none" else "wrong aggregate"
    assert (bench.statuses()[1], bench.reason(2)) == ("void", offence)
    assert any(proof in text for text in bench.said("planned"))
    assert bench.bond_wei == 8 * ETHER
    deposits = int(
        next(n.facts["wei"] for n in bench.notices if n.facts.get("what_for") == "deposits")
    )
    asked = len(bench.said("asked")) + len(bench.said("demanded"))
    assert deposits == asked * DEPOSIT
    assert len(bench.said("demanded")) == 0 if answers != "false" else 1


def test_a_false_column_is_halved_until_one_step_is_left(make_bench: Make) -> None:
    bench = make_bench({**SHIFT, "answers": "false"}, watcher={"interactive": True})
    for _ in range(2):
        bench.play()
    # of entries 0 to 5 those from 3 on are false: the last is, entry 2 is not, entry 3 is
    assert bench.said("demanded") == [f"entry {index} of case 1" for index in (5, 2, 3)]
    assert "challenge_column" in bench.said("planned")[0]
    assert "prove_step" in bench.said("planned")[-1]


# --- a false challenge -----------------------------------------------------------------------


def test_a_false_question_costs_the_deposit_and_changes_nothing(make_bench: Make) -> None:
    bench = make_bench()
    guilty_round(bench)  # honest: there is no attack
    chain, watcher = bench.chain, bench.chain.identities.contributors[0]
    round_ = RoundReader(chain.federation, bench.public).read(RoundId(2))
    assert find_faults(round_) == []
    before, bond = bench.balance(watcher), bench.bond_wei
    chain.referee.ask(watcher, record_moves.challenge_column(round_, 11))
    rival = bench.watcher(watcher)
    answers = responder(bench)
    assert [given.kind for given in answers.step()] == ["aggregate"]
    assert not rival.step()
    assert any("would fail: dispute: chunk is right" in text for text in bench.said("gave up"))
    assert rival.next_deadline() is None  # it does not wait for anything any more
    chain.wait_until(chain.node.next_timestamp + bench.used.chain.answer_s)
    assert answers.settle() == DEPOSIT  # the coordinator takes it
    assert bench.statuses() == ["settled", "settled"]
    assert bench.bond_wei == bond
    assert before - bench.balance(watcher) > DEPOSIT
    outcome = bench.play(watched=False)
    assert outcome.status == "sealed"


def test_a_false_proof_reverts_with_its_reason(make_bench: Make) -> None:
    bench = make_bench()
    guilty_round(bench)
    chain, liar = bench.chain, bench.chain.identities.contributors[0]
    round_ = RoundReader(chain.federation, bench.public).read(RoundId(2))
    with pytest.raises(TransactionRevertedError) as refused:
        chain.referee.convict(liar, moves.challenge_chunk(round_, 11))
    assert refused.value.reason == "dispute: chunk is right"
    assert bench.statuses() == ["settled", "settled"]
    assert bench.bond_wei == 10 * ETHER


def test_an_honest_coordinator_answers_every_kind_of_question(make_bench: Make) -> None:
    bench = make_bench()
    guilty_round(bench)
    chain, asker = bench.chain, bench.chain.identities.contributors[0]
    round_ = RoundReader(chain.federation, bench.public).read(RoundId(2))
    questions = [
        record_moves.challenge_column(round_, 0),
        record_moves.challenge_totals(round_),
        record_moves.challenge_payments(round_),
        record_moves.demand_record(round_, CaseKind.RULE),
        record_moves.demand_record(round_, CaseKind.CONTRIBUTOR, 1),
        record_moves.demand_record(round_, CaseKind.SCORE, 2),
        record_moves.demand_record(round_, CaseKind.REWARD, 3),
        record_moves.demand_chunk(round_, CaseKind.UPDATE, 4, 3),
        record_moves.demand_chunk(round_, CaseKind.BASE_MODEL, 0),
        record_moves.demand_chunk(round_, CaseKind.NEW_MODEL, 2),
    ]
    for question in questions:
        chain.referee.ask(asker, question)
    assert len(responder(bench).step()) == len(questions)
    assert chain.referee.unanswered() == 0
    assert responder(bench).step() == []  # nothing twice
    # an answered demand's deposit is the coordinator's at once, a column's only in time
    assert responder(bench).settle() == 7 * DEPOSIT


def test_a_vector_answered_piece_by_piece_is_demanded_no_further_than_agreed(
    make_bench: Make,
) -> None:
    bench = make_bench({"kind": "withhold", "victim": 4})
    guilty_round(bench)
    watcher = bench.watcher(chunks=3)
    hidden = responder(bench, bench.service._store)  # it has the update, and shows it when asked
    while watcher.step() or hidden.step():
        continue
    assert len(bench.said("asked")) == 3
    assert bench.said("gave up") == ["nothing is left to ask; see fedproof verify"]
    assert bench.statuses() == ["settled", "settled"]
    assert hidden.settle() == 3 * DEPOSIT


def test_a_vector_shown_in_full_is_judged_as_if_it_were_in_the_store(make_bench: Make) -> None:
    bench = make_bench({"kind": "withhold", "victim": 4})
    guilty_round(bench)
    watcher = bench.watcher()
    hidden = responder(bench, bench.service._store)
    while watcher.step() or hidden.step():
        continue
    assert len(bench.said("asked")) == 5  # 40 parameters in chunks of 8
    assert [text for text in bench.said("examined") if "nothing wrong" in text][-1]
    assert bench.notices[-1].verb == "examined"
    assert (bench.said("gave up"), watcher.standing[RoundId(2)]) == ([], [])
    # Another reads it from the chain and asks for nothing.
    other = bench.watcher(bench.chain.identities.contributors[0])
    assert not other.step()
    assert len(bench.said("asked")) == 5


def test_a_false_aggregate_behind_a_withheld_vector_is_proven(
    make_bench: Make, tmp_path: Path
) -> None:
    bench = make_bench(SHIFT)
    guilty_round(bench)
    shutil.copytree(bench.folder / "blobs", tmp_path / "copy")
    hidden_root = bench.chain.ledger.round(RoundId(2)).new_model_root
    bench.public.path(hidden_root, "safetensors").unlink()
    watcher = bench.watcher()
    hidden = responder(bench, DiskStore(tmp_path / "copy", read_only=True))
    while watcher.step() or hidden.step():
        continue
    assert bench.said("found")[0].startswith("new model withheld")
    assert bench.said("found")[1].startswith("wrong aggregate: parameter 11")
    assert bench.reason(2) == "wrong aggregate"
    assert len(bench.said("asked")) == 5


# --- several watchers, restarts, dry runs ------------------------------------------------------


def test_two_watchers_at_once_cut_the_bond_once(make_bench: Make) -> None:
    bench = make_bench({**SHIFT, "answers": "none"})
    guilty_round(bench)
    chain, rival_account = bench.chain, bench.chain.identities.contributors[0]
    slow = bench.watcher(rival_account, interactive=True)
    quick = bench.watcher(chain.identities.contributors[1])
    assert slow.step()  # asks for the column, with a deposit
    assert quick.step()  # proves it at once
    while slow.step() or quick.step():
        continue
    assert bench.statuses() == ["settled", "void"]
    assert bench.bond_wei == 8 * ETHER
    assert len(bench.said("convicted")) == 1
    assert any("deposits" in text for text in bench.said("collected"))  # the loser's came back
    assert chain.referee.locked_wei() == 0


def test_a_watcher_restarted_between_any_two_steps_goes_on(make_bench: Make) -> None:
    bench = make_bench({**SHIFT, "answers": "false"})
    guilty_round(bench)
    answers, steps = responder(bench), 0
    while bench.watcher(interactive=True).step() | bool(answers.step()):  # a new one each time
        steps += 1
    assert bench.reason(2) == "wrong aggregate"
    assert len(bench.said("asked")) == 1
    assert len(bench.said("convicted")) == 1
    assert steps == 5


def test_a_dry_run_reports_price_and_bounty_and_sends_nothing(make_bench: Make) -> None:
    bench = make_bench(SHIFT)
    guilty_round(bench)
    height = bench.chain.node.head_number
    chain = bench.chain
    watcher = Watcher(chain.federation, chain.referee, bench.public, None, bench.notices.append)
    for _ in range(3):
        assert not watcher.step()
    assert bench.chain.node.head_number == height
    (planned,) = [notice for notice in bench.notices if notice.verb == "planned"]
    assert planned.price is not None
    assert (planned.price.deposit_wei, planned.price.bounty_wei) == (0, ETHER)
    assert 100_000 < planned.price.gas < 1_000_000
    assert [len(faults) for faults in watcher.standing.values()] == [0, 1]
    assert planned.as_json()["price"]["bounty_wei"] == str(ETHER)


def announce(bench: FraudBench, **changes: int) -> None:
    """Let the federation train under another rule."""
    plan = bench.service._plan
    changed = replace(plan.rule, **changes)
    bench.service._plan = replace(plan, rule=changed)
    bench.service._rule_hash = rule_hash(changed)
    publish_plan(bench.service._store, bench.service._plan, INITIAL)


def test_what_no_contract_can_judge_is_said_once(make_bench: Make) -> None:
    bench = make_bench()
    announce(bench, server_momentum_q16=1 << 15)
    bench.play()
    bench.play()
    text = "aggregates under server momentum cannot be proven on chain"
    assert bench.said("unprovable") == [f"{text}; fedproof verify re-executes them"]


@pytest.mark.parametrize("above", [True, False])
def test_an_update_above_the_norm_bound_is_reported(make_bench: Make, above: bool) -> None:
    bench = make_bench()
    updates = [update_of(1, client).astype(object) for client in range(5)]
    longest = max(math.isqrt(int((update**2).sum())) for update in updates)
    announce(bench, norm_bound_q=longest + (not above))
    # A coordinator that does not look: what it accepts is over the bound it announced.
    bench.service._plan = replace(
        bench.service._plan, rule=replace(bench.service._plan.rule, norm_bound_q=0)
    )
    bench.play()
    reported = bench.said("unprovable")
    assert len(reported) == above
    assert all("has an L2 norm above" in text for text in reported)
    assert bench.said("found") == []


def test_a_window_that_has_passed_is_said_once(make_bench: Make) -> None:
    bench = make_bench(SHIFT)
    guilty_round(bench)
    bench.chain.wait_until(bench.chain.node.next_timestamp + 1000)
    watcher = bench.watcher()
    for _ in range(2):
        assert not watcher.step()
    assert bench.said("gave up") == ["its challenge window has passed"]


def test_a_fraud_below_open_rounds_voids_them_all(make_bench: Make) -> None:
    bench = make_bench(SHIFT, watcher={"lag_rounds": 2}, chain={"challenge_window_s": 600})
    for _ in range(4):
        bench.play()
    assert [status == "void" for status in bench.statuses()] == [False, True, True, True]
    assert bench.reason(4) == "stands on round 3: stands on round 2: wrong aggregate"
    bench.play()
    assert bench.chain.ledger.round(RoundId(5)).parent == 1


def test_a_slashed_coordinator_cannot_open_a_round_until_it_bonds_again(make_bench: Make) -> None:
    bench = make_bench(SHIFT, stake={"coordinator_minimum_wei": 9 * ETHER})
    bench.play()
    bench.play()
    with pytest.raises(TransactionRevertedError) as refused:
        bench.play()
    assert refused.value.reason == "stake: coordinator bond too low"
    chain = bench.chain
    coordinator = chain.identities.coordinator
    chain.federation.transact(coordinator, calls.bond_coordinator(ETHER))
    assert bench.play().status == "sealed"
    assert chain.federation.account(Address(coordinator.address)).bond_wei == 9 * ETHER


def test_a_parameter_the_model_does_not_have_is_a_mistake_of_the_experiment(
    make_bench: Make,
) -> None:
    bench = make_bench({"kind": "shift_parameter", "parameter": 40})
    bench.play()
    with pytest.raises(ConfigError, match="parameter = 40, but the model has 40 parameters"):
        bench.play()


@pytest.mark.parametrize(
    ("attacks", "complaint"),
    [
        ([{"kind": "pay_self"}, {"kind": "withhold"}], "a round has one attack"),
        ([{"kind": "pay_self", "round": 10}], "is after the last of rounds = 9"),
        ([{"kind": "withhold", "victim": 5}], "numbers them 0 to 4"),
    ],
)
def test_attacks_that_cannot_be_are_refused_at_load(attacks: list[dict], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        experiment(*attacks)


def test_sealing_early_needs_a_time_to_be_early_in() -> None:
    with pytest.raises(ValueError, match="5 leaves no time before it"):
        experiment({"kind": "seal_early"}, chain={"min_open_s": 5})
