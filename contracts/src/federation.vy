# pragma version 0.4.3
# pragma evm-version prague
"""
@title Federation
@license Apache-2.0
@notice One federated-learning federation: who is bonded, what each round committed, what it paid.
        Coordinator and contributors are slashed by evidence only; money leaves by pull payments
        only; nothing can be upgraded or paused.
@dev Composed of modules; holds no logic but two views that gather what a client asks for most.
     Ether sent outside the payable calls is refused: there is no default function.
     INVARIANTS.md numbers what holds after every call.
"""

from . import evidence
from . import judgement
from . import rewards
from . import rounds
from . import stakes
from . import agreement

initializes: agreement
initializes: stakes[agreement := agreement]
initializes: rewards
initializes: rounds[agreement := agreement, stakes := stakes, rewards := rewards]
initializes: evidence[agreement := agreement, stakes := stakes]
initializes: judgement[agreement := agreement, stakes := stakes, rounds := rounds]

exports: agreement.terms
exports: (
    stakes.join,
    stakes.leave,
    stakes.withdraw,
    stakes.bond_coordinator,
    stakes.collect,
    stakes.member,
    stakes.member_index,
    stakes.checkpoint_count,
    stakes.checkpoint,
    stakes.bond_at,
    stakes.find_bond,
    stakes.roster,
)
exports: (rewards.fund, rewards.claim)
exports: (
    rounds.unbond_coordinator,
    rounds.open_round,
    rounds.commit_updates,
    rounds.seal_round,
    rounds.settle_round,
    rounds.finalize_round,
    rounds.void_round,
    rounds.expire_round,
    rounds.status,
    rounds.at_height,
    rounds.opening,
    rounds.sealing,
    rounds.settlement,
    rounds.record,
)
exports: (
    evidence.slash_equivocation,
    evidence.domain_separator,
    evidence.update_digest,
    evidence.is_slashed,
)
exports: (judgement.set_referee, judgement.hold_round, judgement.convict_coordinator)


struct Account:
    index: uint256
    bond: uint256
    unbonding: uint256
    matures_at: uint256
    credit: uint256
    claimed: uint256


struct Head:
    last_opened: uint256
    open_round: uint256
    height: uint256
    round: uint256
    model_root: bytes32
    final_height: uint256
    final_round: uint256
    rewards_root: bytes32
    pool: uint256
    pledged: uint256
    reserve: uint256
    member_count: uint256
    referee: address


@deploy
def __init__(agreed: agreement.Terms):
    """
    @notice Deploy a federation with its terms, fixed for good.
    @dev Reverts with "terms: ..." naming the term that contradicts. Emits FederationCreated.
    """
    agreement.__init__(agreed)


@external
@view
def account(who: address) -> Account:
    """
    @notice Member index (0 for none), bond, unbonding funds and when they mature, bounties to
            collect, rewards claimed so far. Never reverts.
    """
    return Account(
        index=stakes._place[who] >> stakes.COUNT_BITS,
        bond=stakes._bond_of(who),
        unbonding=stakes._unbonding[who],
        matures_at=stakes._matures_at[who],
        credit=stakes._credit[who],
        claimed=rewards._claimed[who],
    )


@external
@view
def head() -> Head:
    """
    @notice Where the live chain stands: the open round (0 for none), the last sealed round and its
            model, the last FINAL round and its rewards, and the pool. Never reverts.
    """
    last: uint256 = stakes.last_opened
    open_round: uint256 = 0
    top: uint256 = rounds._head_round()
    head_round: uint256 = top
    if rounds._is_open(last):
        open_round = last
        top = last
    return Head(
        last_opened=last,
        open_round=open_round,
        height=rounds.head_height,
        round=head_round,
        model_root=rounds._model_after(head_round),
        final_height=rounds.final_height,
        final_round=rounds._at_height[rounds.final_height],
        rewards_root=rewards.final_root,
        pool=rewards.pool,
        pledged=rounds._pledged_by(top),
        reserve=rewards.reserve,
        member_count=stakes.member_count,
        referee=judgement.referee,
    )
