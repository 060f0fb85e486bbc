"""A contributor's score, committed to several times, thins out what the others earn.

The contract would convict, if anybody asked; but nobody does, since nothing looks for it.
"""

from dispute_world import BUDGET, DisputeWorld
from known_weakness import attacker_fails, known_weakness

from coordinator.protocol.disputes import find_faults
from coordinator.protocol.disputes.columns import share_of
from coordinator.protocol.types import RewardLeaf, Wei

COPIES = range(1, 200)


def paid_with(scores: list, total: int) -> int:
    return sum(share_of(BUDGET, leaf.score, total) for leaf in scores)


@known_weakness("repeated scores are not looked for")
def test_known_weakness_a_score_that_is_repeated_is_not_found() -> None:
    world = DisputeWorld.create()
    draft = world.draft()
    honest, repeated = list(draft.scores), draft.scores[0]
    total = sum(leaf.score for leaf in honest)
    # as many copies as the budget's check on chain lets pass: rounding must not eat too much
    most = max(
        count
        for count in COPIES
        if paid_with(honest + [repeated] * count, total + repeated.score * count)
        > BUDGET - draft.disputed().committed.n
    )
    draft.scores = honest + [repeated] * most
    draft.total_score = sum(leaf.score for leaf in draft.scores)
    draft.paid = paid_with(draft.scores, draft.total_score)
    share = {s.contributor: share_of(BUDGET, s.score, draft.total_score) for s in draft.scores}
    earned = {leaf.contributor: leaf.cumulative_wei for leaf in draft.rewards}
    draft.rewards = [
        RewardLeaf(leaf.contributor, Wei(share.get(leaf.contributor, 0))) for leaf in draft.rewards
    ]
    round_ = world.commit(draft)
    # everybody earns less than an honest round gives, so it is false
    assert all(leaf.cumulative_wei <= earned[leaf.contributor] for leaf in draft.rewards)
    attacker_fails(find_faults(round_) != [], "no fault is found")
