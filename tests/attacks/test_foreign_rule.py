"""A coordinator that announces, round by round, a rule that nobody agreed to.

A server momentum of 1/65536 makes an aggregate unprovable on chain, so any model at all stands, and
the whole budget goes to one accomplice.
"""

from dataclasses import replace

import numpy as np
from dispute_rounds import make_rule
from dispute_world import BUDGET, STRANGER, UPDATES, DisputeWorld, terms
from known_weakness import attacker_fails, known_weakness

from contracts.binding import calls
from coordinator.protocol.disputes import moves, record_moves
from coordinator.protocol.errors import TransactionRevertedError
from coordinator.protocol.round.chain_round import RoundStatus
from coordinator.protocol.types import RewardLeaf, RoundId, Wei

ANY_MODEL = np.full(5, 666, np.int32)


@known_weakness("a round's rule is not the agreed one")
def test_known_weakness_a_rule_of_the_coordinators_own_choice() -> None:
    world = DisputeWorld.create(agreed=replace(terms(), min_contributors=2))
    rule = make_rule(server_momentum_q16=1, scoring_hash=bytes(32))
    draft = world.draft(updates=UPDATES[:2], examples=[1, 1], rule=rule, new_model=ANY_MODEL)
    accomplice = draft.scores[0].contributor
    draft.scores = [replace(draft.scores[0], score=1), replace(draft.scores[1], score=0)]
    draft.total_score, draft.paid = 1, BUDGET
    draft.rewards = [
        RewardLeaf(member, Wei(BUDGET if member == accomplice else 0)) for member in draft.members
    ]
    try:
        round_ = world.commit(draft)
    except TransactionRevertedError:
        return  # the contract holds the coordinator to the agreed rule
    proofs = [
        moves.challenge_chunk(round_, 0),
        record_moves.challenge_rule(round_),
        record_moves.challenge_score(round_, 0, 0),
    ]
    for proof in proofs:
        world.refused(proof)
    world.wait_until(world.federation.round(RoundId(1)).finalizable_at)
    world.send(STRANGER, calls.finalize_round(RoundId(1)))
    attacker_fails(
        world.federation.status(RoundId(1)) is not RoundStatus.FINAL, "any model is final"
    )
