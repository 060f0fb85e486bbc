"""Wrong scores and rewards of a settled round."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from dispute_rounds import Draft, make_rule
from dispute_world import (
    BUDGET,
    COORDINATOR,
    EXAMPLES,
    MEMBERS,
    MIN_STAKE,
    STRANGER,
    UPDATES,
    DisputeWorld,
)

from contracts.binding import calls
from coordinator.protocol.abi import address_word, uint_word
from coordinator.protocol.disputes import (
    DisputedRound,
    Evidence,
    FaultKind,
    find_faults,
    moves_against,
)
from coordinator.protocol.disputes import record_moves as build
from coordinator.protocol.disputes.records import score_and_proof
from coordinator.protocol.keccak import keccak256
from coordinator.protocol.round.chain_round import RoundStatus
from coordinator.protocol.round.incentives import split_budget
from coordinator.protocol.signatures.eip712 import checksum_address
from coordinator.protocol.types import Address, RewardLeaf, RoundId, ScoreLeaf, Wei, address_bytes

OUTSIDER = Address(COORDINATOR.address)
IDLE = Address(MEMBERS[4].address)
"""A member that takes no part where four contribute."""


def only(round_: DisputedRound, kind: FaultKind) -> Evidence:
    fault = next(f for f in find_faults(round_) if f.kind is kind)
    move = moves_against(round_, fault)[0]
    assert isinstance(move, Evidence)
    return move


def pay_again(draft: Draft) -> None:
    """Rewards, total and payment that follow from whatever the scores are."""
    split = split_budget(Wei(draft.budget), {x.contributor: x.score for x in draft.scores})
    before = {x.contributor: x.cumulative_wei for x in draft.parent_rewards}
    draft.total_score = sum(x.score for x in draft.scores)
    draft.paid = split.paid_wei
    draft.rewards = [
        RewardLeaf(
            x.contributor, Wei(before.get(x.contributor, 0) + split.shares.get(x.contributor, 0))
        )
        for x in draft.rewards
    ]


# --- scores ------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", [0, 9, 11, 2**64 - 1])
def test_a_score_by_examples_that_is_wrong(court: DisputeWorld, score: int) -> None:
    draft = court.draft()
    draft.change_score(0, score=score)
    pay_again(draft)
    round_ = court.commit(draft)
    assert [f.kind for f in find_faults(round_)] == [FaultKind.SCORE]
    assert court.convict(only(round_, FaultKind.SCORE)) == "score: wrong value"
    assert court.federation.status(1) == RoundStatus.VOID


def test_right_scores_are_not_convicted(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    for at in range(4):
        assert court.refused(build.challenge_score(round_, at, at)) == "dispute: score is right"
        form = build.challenge_score_form(round_, at)
        assert court.refused(form) == "dispute: score is right"
        stray = build.challenge_stray_score(round_, at)
        assert court.refused(stray) == "dispute: not between"
        for other in range(4):
            pair = build.challenge_score_pair(round_, at, other)
            assert court.refused(pair) == "dispute: scores are right"


def test_the_cap_counts(court: DisputeWorld) -> None:
    """500 examples score 100: neither more nor less."""
    draft = court.draft()
    assert draft.scores[3].score == 100
    draft.change_score(3, score=500)
    pay_again(draft)
    assert court.convict(only(court.commit(draft), FaultKind.SCORE)) == "score: wrong value"


def test_other_scorings_cannot_be_computed_on_chain(court: DisputeWorld) -> None:
    rule = make_rule(scoring_hash=bytes([7]) * 32)
    draft = court.draft(rule=rule)
    draft.change_score(0, score=99)
    pay_again(draft)
    round_ = court.commit(draft)
    assert find_faults(round_) == []
    assert court.refused(build.challenge_score(round_, 0, 0)) == "dispute: scoring not provable"


def test_the_score_of_another_contributor(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    one, two = build.challenge_score(round_, 0, 0), build.challenge_score(round_, 1, 1)
    crossed = replace(one, arguments=(*one.arguments[:4], *two.arguments[4:]))
    assert court.refused(crossed) == "dispute: other contributor"
    broken = replace(one, arguments=(*one.arguments[:5], one.arguments[5][:-1]))
    assert court.refused(broken) == "dispute: no such score"


def test_a_score_of_another_round(court: DisputeWorld) -> None:
    draft = court.draft()
    draft.change_score(2, round_id=RoundId(2))
    round_ = court.commit(draft)
    assert court.convict(only(round_, FaultKind.SCORE_FORM)) == "score: wrong round"


def test_a_score_too_large_for_its_type(court: DisputeWorld) -> None:
    draft = court.draft()
    who = draft.scores[0].contributor
    words = uint_word(1, 64, "") + address_word(who, "") + uint_word(2**64, 256, "")
    hashed = keccak256(keccak256(words))
    round_ = draft.disputed()
    committed = replace(round_.committed, scores_root=hashed)
    court.open(draft)
    court.seal(round_)
    court.settle(replace(round_, committed=committed))
    evidence = Evidence("challenge_score_form", (1, (1, who, 2**64), ()))
    assert court.convict(evidence) == "score: out of range"


def test_two_scores_for_one_contributor(court: DisputeWorld) -> None:
    draft = court.draft()
    draft.scores.insert(1, replace(draft.scores[0], score=11))
    round_ = court.commit(draft)
    assert court.convict(only(round_, FaultKind.SCORE_PAIR)) == "score: given twice"


@pytest.mark.parametrize(
    "who", [IDLE, OUTSIDER, Address("0x" + "00" * 20), Address("0x" + "ff" * 20)]
)
def test_a_score_for_nobody_who_took_part(court: DisputeWorld, who: Address) -> None:
    draft = court.draft()
    draft.scores.append(ScoreLeaf(RoundId(1), who, 10))
    round_ = court.commit(draft)
    assert court.convict(only(round_, FaultKind.SCORE_STRAY)) == "score: not a contributor"


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_absence_is_shown_by_neighbours(court: DisputeWorld, count: int) -> None:
    """Before the first, between any two, and behind the last."""
    draft = court.draft([*UPDATES, UPDATES[0]][:count], [*EXAMPLES, 1][:count])
    names = [address_bytes(e.leaf.contributor) for e in draft.entries]
    for name in names:
        for shift in (-1, 1):
            value = (int.from_bytes(name, "big") + shift).to_bytes(20, "big")
            draft.scores.append(ScoreLeaf(RoundId(1), checksum_address(value), 1))
    round_ = court.commit(draft)
    strays = [f for f in find_faults(round_) if f.kind is FaultKind.SCORE_STRAY]
    assert len(strays) == 2 * count
    for fault in strays:
        (move,) = moves_against(round_, fault)
        assert isinstance(move, Evidence)
        assert court.referee.refusal(move) == ""


def test_those_who_took_part_cannot_be_made_absent(court: DisputeWorld) -> None:
    """Any two leaves as neighbours, for any contributor: never absent."""
    round_ = court.commit(court.draft())
    leaves = [
        (build.leaf_words(e.leaf), round_.leaf_proof(i)) for i, e in enumerate(round_.known_entries)
    ]
    for at in range(4):
        score = (build.score_words(round_.known_scores[at]), round_.scores_tree.proof(at))
        refusals = {
            court.referee.refusal(Evidence("challenge_stray_score", (1, *score, *before, *after)))
            for before in leaves
            for after in leaves
        }
        assert refusals <= {"dispute: not between", "dispute: not neighbours"}


# --- rewards -----------------------------------------------------------------------------------


def reward_at(draft: Draft, who: Address) -> int:
    return [leaf.contributor for leaf in draft.rewards].index(who)


def change_reward(draft: Draft, who: Address, by: int) -> None:
    at = reward_at(draft, who)
    leaf = draft.rewards[at]
    draft.rewards[at] = replace(leaf, cumulative_wei=Wei((leaf.cumulative_wei + by) % 2**256))


@pytest.mark.parametrize("by", [1, -1, 700, 2**255])
@pytest.mark.parametrize("who", [Address(MEMBERS[0].address), IDLE], ids=["contributor", "idle"])
@pytest.mark.parametrize("second", [False, True])
def test_wrong_rewards_are_proven(court: DisputeWorld, who: Address, by: int, second: bool) -> None:
    """In a first round and in one stacked on another; of who took part and of who did not."""
    draft = court.draft()
    if second:
        court.commit(draft)
        draft = court.draft(number=2, parent=draft)
    change_reward(draft, who, by)
    round_ = court.commit(draft)
    assert [f.kind for f in find_faults(round_)] == [FaultKind.REWARD]
    assert court.convict(only(round_, FaultKind.REWARD)) == "reward: wrong value"
    assert court.federation.status(RoundId(draft.number)) == RoundStatus.VOID


def test_right_rewards_are_not_convicted(court: DisputeWorld) -> None:
    draft = court.draft()
    first = court.commit(draft)
    # Others take part the second time, so that all four cases occur.
    stacked = court.draft(UPDATES[1:4], EXAMPLES[1:4], number=2, parent=draft, members=MEMBERS[2:])
    second = court.commit(stacked)
    for round_ in (first, second):
        assert find_faults(round_) == []
        for at in range(5):
            assert court.refused(build.challenge_reward(round_, at)) == "dispute: reward is right"
            outsider = build.challenge_outsider(round_, at)
            assert court.refused(outsider) == "dispute: is a member"


def test_a_reward_is_judged_by_the_score_of_its_own_contributor(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    who = round_.known_entries[0].leaf.contributor
    at = [leaf.contributor for leaf in round_.known_rewards].index(who)
    right = build.challenge_reward(round_, at)
    assert right.function == "challenge_reward"
    of_another = score_and_proof(round_, round_.known_entries[1].leaf.contributor)
    other = replace(right, arguments=(*right.arguments[:-2], *of_another))
    assert court.refused(other) == "dispute: other contributor"
    assert court.refused(right) == "dispute: reward is right"


def test_rewards_start_from_those_before(court: DisputeWorld) -> None:
    """A claim of other rewards before, or of none, is refused."""
    draft = court.draft()
    court.commit(draft)
    round_ = court.commit(court.draft(number=2, parent=draft))
    right = build.challenge_reward(round_, 0)
    for previous in (0, right.arguments[4] + 1):
        evidence = replace(right, arguments=(*right.arguments[:4], previous, *right.arguments[5:]))
        assert court.refused(evidence) == "dispute: no such reward"
    evidence = replace(right, arguments=(*right.arguments[:4], 0, (), *right.arguments[6:]))
    assert court.refused(evidence) == "dispute: no such reward"


def test_a_member_that_joined_later_starts_from_nothing(court: DisputeWorld) -> None:
    draft = court.draft()
    court.commit(draft)
    court.send(STRANGER, calls.join(Wei(MIN_STAKE)))
    stacked = court.draft(number=2, parent=draft)
    assert len(stacked.members) == 6
    late = Address(STRANGER.address)
    round_ = stacked.disputed()
    snapshot = court.node.snapshot()
    right = court.commit(stacked)
    at = reward_at(stacked, late)
    assert court.refused(build.challenge_reward(right, at)) == "dispute: reward is right"
    court.node.revert(snapshot)
    court.forget()
    change_reward(stacked, late, 5)
    wrong = court.commit(stacked)
    assert court.convict(only(wrong, FaultKind.REWARD)) == "reward: wrong value"
    assert round_.parent_member_count == 5


@pytest.mark.parametrize("who", [OUTSIDER, Address("0x" + "00" * 20)])
def test_paying_oneself_is_proven(court: DisputeWorld, who: Address) -> None:
    draft = court.draft()
    draft.rewards.append(RewardLeaf(who, Wei(700)))
    round_ = court.commit(draft)
    assert court.convict(only(round_, FaultKind.REWARD_OUTSIDER)) == "reward: not a member"


def test_whoever_joins_after_the_opening_is_an_outsider(court: DisputeWorld) -> None:
    draft = court.draft()
    court.open(draft)
    court.send(STRANGER, calls.join(Wei(MIN_STAKE)))
    draft.rewards.append(RewardLeaf(Address(STRANGER.address), Wei(0)))
    round_ = draft.disputed()
    court.seal(round_)
    court.settle(round_)
    assert court.convict(only(round_, FaultKind.REWARD_OUTSIDER)) == "reward: not a member"


def test_two_leaves_of_one_member_are_not_both_right(court: DisputeWorld) -> None:
    draft = court.draft()
    draft.rewards.append(RewardLeaf(IDLE, Wei(1)))
    round_ = court.commit(draft)
    assert court.convict(only(round_, FaultKind.REWARD)) == "reward: wrong value"


def test_nobody_scored_nobody_is_paid(court: DisputeWorld) -> None:
    draft = court.draft()
    for at in range(4):
        draft.change_score(at, score=0)
    pay_again(draft)
    assert draft.paid == 0
    round_ = court.commit(draft)
    for at in range(5):
        assert court.refused(build.challenge_reward(round_, at)) == "dispute: reward is right"


def test_the_score_that_counts_is_this_rounds(court: DisputeWorld) -> None:
    draft = court.draft()
    first = court.commit(draft)
    second = court.commit(court.draft(number=2, parent=draft))
    right = build.challenge_reward(second, 0)
    old = build.challenge_reward(first, 0)
    evidence = replace(right, arguments=(*right.arguments[:6], *old.arguments[6:]))
    assert court.refused(evidence) == "dispute: no such score"


PROOFS: dict[str, Callable[[DisputedRound], Evidence]] = {
    "score": lambda r: build.challenge_score(r, 0, 0),
    "form": lambda r: build.challenge_score_form(r, 0),
    "pair": lambda r: build.challenge_score_pair(r, 0, 1),
    "stray": lambda r: build.challenge_stray_score(r, 0),
    "reward": lambda r: build.challenge_reward(r, 0),
    "outsider": lambda r: build.challenge_outsider(r, 0),
}


@pytest.mark.parametrize("name", PROOFS)
def test_a_round_that_is_not_settled_has_no_rewards_to_challenge(
    court: DisputeWorld, name: str
) -> None:
    draft = court.draft()
    court.commit(draft, settled=False)
    assert court.refused(PROOFS[name](draft.disputed())) == "dispute: round not settled"


def test_the_budget_is_what_the_round_was_opened_with(court: DisputeWorld) -> None:
    assert court.federation.terms.round_budget_wei == BUDGET
    draft = court.draft()
    round_ = court.commit(draft)
    assert court.federation.round(1).budget_wei == round_.committed.budget_wei == BUDGET
