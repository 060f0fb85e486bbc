# pragma version 0.4.3
"""
@title Rounds
@license Apache-2.0
@notice Rounds of training: opened, sealed with the roots of what happened, settled, final; or
        void.
@dev A round has a number, which only grows, and a height on the live chain of sealed rounds.
     A sealed round is live while at_height[height] names it and height <= head_height: lowering
     head_height voids a round and all stacked on it at constant cost. What live rounds may pay
     is a prefix sum kept per round, so a void gives their pledges back by itself.
     Small values share words: five of 48 bits, or two of 128.
"""

from . import rewards
from . import stakes
from . import agreement

uses: agreement
uses: stakes
uses: rewards

# A round opened on ``parent`` (0 for the initial model).
event RoundOpened:
    round: indexed(uint256)
    model_root: bytes32
    rule_hash: bytes32
    deadline: uint256
    opened_at: uint256
    parent: uint256
    height: uint256
    member_count: uint256
    budget: uint256
    pledged_cum: uint256

# The contributors' commitments of a round in sealed mode were fixed.
event UpdatesCommitted:
    round: indexed(uint256)
    commitments_root: bytes32
    count: uint256

# A round's contributors and new model were committed.
event RoundSealed:
    round: indexed(uint256)
    contributors_root: bytes32
    n: uint256
    total_examples: uint256
    total_stake: uint256
    new_model_root: bytes32
    sealed_at: uint256
    sealed_block: uint256

# A round's scores and the cumulative rewards after it were committed.
event RoundSettled:
    round: indexed(uint256)
    scores_root: bytes32
    total_score: uint256
    rewards_root: bytes32
    paid: uint256
    settled_at: uint256

# A round became FINAL and its rewards claimable.
event RoundFinalized:
    round: indexed(uint256)
    rewards_root: bytes32
    paid: uint256

# The referee keeps a round from becoming final before ``until``.
event RoundHeld:
    round: indexed(uint256)
    until: uint256

# A round, and all stacked on it, became void.
# ``head_height`` is the head's height after it; ``reason`` is zero-padded ASCII.
event RoundVoided:
    round: indexed(uint256)
    reason: bytes32
    head_height: uint256


struct Opening:
    model_root: bytes32
    rule_hash: bytes32
    opened_at: uint256
    deadline: uint256
    parent: uint256
    height: uint256
    member_count: uint256
    budget: uint256
    pledged_cum: uint256
    commitments_root: bytes32
    commitments_count: uint256


struct Sealing:
    contributors_root: bytes32
    n: uint256
    total_examples: uint256
    total_stake: uint256
    new_model_root: bytes32
    sealed_at: uint256
    sealed_block: uint256


struct Settlement:
    scores_root: bytes32
    total_score: uint256
    rewards_root: bytes32
    paid: uint256
    settled_at: uint256
    held_until: uint256


struct Record:
    rule_hash: bytes32
    opening: uint256  # opened_at, deadline, parent, height, member_count
    pledge: uint256  # budget, pledged_cum
    commitments_root: bytes32
    commitments_count: uint256
    contributors_root: bytes32
    new_model_root: bytes32
    totals: uint256  # total_examples, total_stake
    sealing: uint256  # sealed_at, sealed_block, n, settled_at, held_until
    scores_root: bytes32
    rewards_root: bytes32
    outcome: uint256  # total_score, paid


UNKNOWN: constant(uint256) = 0
OPEN: constant(uint256) = 1
SEALED: constant(uint256) = 2
SETTLED: constant(uint256) = 3
FINAL: constant(uint256) = 4
VOID: constant(uint256) = 5

FIELD_BITS: constant(uint256) = 48
FIELD_MASK: constant(uint256) = 2**48 - 1
OPENED_AT: constant(uint256) = 0
DEADLINE: constant(uint256) = 1
PARENT: constant(uint256) = 2
HEIGHT: constant(uint256) = 3
MEMBER_COUNT: constant(uint256) = 4
SEALED_AT: constant(uint256) = 0
SEALED_BLOCK: constant(uint256) = 1
CONTRIBUTORS: constant(uint256) = 2
SETTLED_AT: constant(uint256) = 3
HELD_UNTIL: constant(uint256) = 4
HALF: constant(uint256) = 128
HALF_MASK: constant(uint256) = 2**128 - 1

# "deadline", padded
EXPIRED: constant(bytes32) = 0x646561646c696e65000000000000000000000000000000000000000000000000

_records: HashMap[uint256, Record]
_at_height: HashMap[uint256, uint256]
head_height: uint256
final_height: uint256
_abandoned: uint256  # last round that ended without a seal


# --- what is live ----------------------------------------------------------------------------


@internal
@pure
def _field(word: uint256, place: uint256) -> uint256:
    return (word >> (FIELD_BITS * place)) & FIELD_MASK


@internal
@pure
def _five(a: uint256, b: uint256, c: uint256, d: uint256, e: uint256) -> uint256:
    return a | (b << 48) | (c << 96) | (d << 144) | (e << 192)


@internal
@view
def _status(round: uint256) -> uint256:
    if round == 0 or round > stakes.last_opened:
        return UNKNOWN
    sealing: uint256 = self._records[round].sealing
    if sealing == 0:
        # Opening requires that no round is open, so only the last one can be.
        if round == stakes.last_opened and round != self._abandoned:
            return OPEN
        return VOID
    height: uint256 = self._field(self._records[round].opening, HEIGHT)
    if height > self.head_height or self._at_height[height] != round:
        return VOID
    if height <= self.final_height:
        return FINAL
    if self._field(sealing, SETTLED_AT) > 0:
        return SETTLED
    return SEALED


@internal
@view
def _head_round() -> uint256:
    return self._at_height[self.head_height]


@internal
@view
def _model_after(round: uint256) -> bytes32:
    # Round 0 stands for the agreed initial model.
    if round == 0:
        return agreement.TERMS.initial_model_root
    return self._records[round].new_model_root


@internal
@view
def _is_open(round: uint256) -> bool:
    return self._status(round) == OPEN


@internal
@view
def _pledged_by(round: uint256) -> uint256:
    """
    @dev What live rounds up to this one may still take from the pool.
    """
    final: uint256 = self._at_height[self.final_height]
    return (self._records[round].pledge >> HALF) - (self._records[final].pledge >> HALF)


@internal
@view
def _window_end(sealing: uint256) -> uint256:
    settled: uint256 = self._field(sealing, SETTLED_AT)
    return max(settled + agreement.TERMS.challenge_window, self._field(sealing, HELD_UNTIL))


@internal
@view
def _require_open(round: uint256):
    assert self._is_open(round), "round: not open"
    deadline: uint256 = self._field(self._records[round].opening, DEADLINE)
    assert block.timestamp < deadline, "round: deadline passed"


@internal
def _abandon(round: uint256, reason: bytes32):
    self._abandoned = round
    log RoundVoided(round=round, reason=reason, head_height=self.head_height)


@internal
@view
def _require_challengeable(round: uint256, status: uint256):
    """
    @dev Until it is settled a sealed round has no window to pass; then the window, or a hold.
    """
    assert status == SEALED or status == SETTLED, "round: not live"
    if status == SETTLED:
        end: uint256 = self._window_end(self._records[round].sealing)
        assert block.timestamp < end, "round: window closed"


@internal
def _void(round: uint256, reason: bytes32):
    """
    @dev Void a live round that is not FINAL, and all stacked on it. Constant cost.
    """
    last: uint256 = stakes.last_opened
    if self._is_open(last):
        # An open round stands on the head, so above whatever is voided, or is it.
        self._abandoned = last
    if round != self._abandoned:
        self.head_height = self._field(self._records[round].opening, HEIGHT) - 1
    log RoundVoided(round=round, reason=reason, head_height=self.head_height)


@internal
def _hold(round: uint256, until: uint256):
    self._require_challengeable(round, self._status(round))
    assert until <= block.timestamp + agreement.TERMS.unbonding_period, "round: hold too long"
    sealing: uint256 = self._records[round].sealing
    assert until > self._field(sealing, HELD_UNTIL), "round: hold not longer"
    others: uint256 = sealing & ((1 << (FIELD_BITS * HELD_UNTIL)) - 1)
    self._records[round].sealing = others | (until << (FIELD_BITS * HELD_UNTIL))
    log RoundHeld(round=round, until=until)


@internal
@view
def _opening(round: uint256) -> Opening:
    if round == 0 or round > stakes.last_opened:
        return empty(Opening)
    word: uint256 = self._records[round].opening
    pledge: uint256 = self._records[round].pledge
    parent: uint256 = self._field(word, PARENT)
    return Opening(
        model_root=self._model_after(parent),
        rule_hash=self._records[round].rule_hash,
        opened_at=self._field(word, OPENED_AT),
        deadline=self._field(word, DEADLINE),
        parent=parent,
        height=self._field(word, HEIGHT),
        member_count=self._field(word, MEMBER_COUNT),
        budget=pledge & HALF_MASK,
        pledged_cum=pledge >> HALF,
        commitments_root=self._records[round].commitments_root,
        commitments_count=self._records[round].commitments_count,
    )


@internal
@view
def _sealing(round: uint256) -> Sealing:
    word: uint256 = self._records[round].sealing
    totals: uint256 = self._records[round].totals
    return Sealing(
        contributors_root=self._records[round].contributors_root,
        n=self._field(word, CONTRIBUTORS),
        total_examples=totals & HALF_MASK,
        total_stake=totals >> HALF,
        new_model_root=self._records[round].new_model_root,
        sealed_at=self._field(word, SEALED_AT),
        sealed_block=self._field(word, SEALED_BLOCK),
    )


@internal
@view
def _settlement(round: uint256) -> Settlement:
    word: uint256 = self._records[round].sealing
    outcome: uint256 = self._records[round].outcome
    return Settlement(
        scores_root=self._records[round].scores_root,
        total_score=outcome & HALF_MASK,
        rewards_root=self._records[round].rewards_root,
        paid=outcome >> HALF,
        settled_at=self._field(word, SETTLED_AT),
        held_until=self._field(word, HELD_UNTIL),
    )


# --- calls -----------------------------------------------------------------------------------


@external
@nonreentrant
def unbond_coordinator():
    """
    @notice Start unbonding the coordinator's whole bond; no round opens until it bonds again.
    @dev Coordinator only, and only when every round is FINAL or VOID. Reverts
         "role: not coordinator", "round: still live", "stake: nothing bonded". Emits Left.
    """
    agreement._only_coordinator()
    assert not self._is_open(stakes.last_opened), "round: still live"
    assert self.head_height == self.final_height, "round: still live"
    stakes._unbond(msg.sender)


@external
@nonreentrant
def open_round(round: uint256, model_root: bytes32, rule_hash: bytes32, deadline: uint256):
    """
    @notice Open the next round on the head of the live chain. An open round past its deadline is
            voided on the way.
    @param round One more than the last round ever opened.
    @param model_root The head's new model, or the agreed initial model.
    @param rule_hash Digest of the aggregation rule announced for the round.
    @param deadline Chain time from which the round can no longer be sealed. Late enough for the
           shortest allowed round; early enough that a bond unbonded since the opening is still
           slashable one challenge window after it.
    @dev Coordinator only. Reverts "role: not coordinator", "round: still open",
         "round: wrong number", "stake: coordinator bond too low", "round: wrong model",
         "round: deadline too soon", "round: deadline too far". Emits RoundOpened, and RoundVoided
         for an expired round.
    """
    agreement._only_coordinator()
    last: uint256 = stakes.last_opened
    if self._is_open(last):
        expiry: uint256 = self._field(self._records[last].opening, DEADLINE)
        assert block.timestamp >= expiry, "round: still open"
        self._abandon(last, EXPIRED)
    assert round == last + 1, "round: wrong number"
    bond: uint256 = stakes._bond_of(msg.sender)
    assert bond >= agreement.TERMS.min_coordinator_bond, "stake: coordinator bond too low"
    parent: uint256 = self._head_round()
    assert model_root == self._model_after(parent), "round: wrong model"
    earliest: uint256 = block.timestamp + agreement.TERMS.min_open_seconds
    assert deadline > earliest, "round: deadline too soon"
    latest: uint256 = (
        block.timestamp + agreement.TERMS.unbonding_period - agreement.TERMS.challenge_window
    )
    assert deadline <= latest, "round: deadline too far"

    height: uint256 = self.head_height + 1
    budget: uint256 = min(agreement.TERMS.round_budget, rewards.pool - self._pledged_by(parent))
    pledged_cum: uint256 = (self._records[parent].pledge >> HALF) + budget
    stakes.last_opened = round
    self._records[round].rule_hash = rule_hash
    self._records[round].opening = self._five(
        block.timestamp, deadline, parent, height, stakes.member_count
    )
    self._records[round].pledge = budget | (pledged_cum << HALF)
    log RoundOpened(
        round=round,
        model_root=model_root,
        rule_hash=rule_hash,
        deadline=deadline,
        opened_at=block.timestamp,
        parent=parent,
        height=height,
        member_count=stakes.member_count,
        budget=budget,
        pledged_cum=pledged_cum,
    )


@external
@nonreentrant
def commit_updates(round: uint256, commitments_root: bytes32, count: uint256):
    """
    @notice In sealed mode, fix the contributors' commitments before any upload begins.
    @dev Coordinator only, once a round, while it is open. Reverts "role: not coordinator",
         "round: not open", "round: deadline passed", "round: empty root",
         "round: already committed". Emits UpdatesCommitted.
    """
    agreement._only_coordinator()
    self._require_open(round)
    assert commitments_root != empty(bytes32), "round: empty root"
    assert self._records[round].commitments_root == empty(bytes32), "round: already committed"
    self._records[round].commitments_root = commitments_root
    self._records[round].commitments_count = count
    log UpdatesCommitted(round=round, commitments_root=commitments_root, count=count)


@external
@nonreentrant
def seal_round(
    round: uint256,
    contributors_root: bytes32,
    n: uint256,
    total_examples: uint256,
    total_stake: uint256,
    new_model_root: bytes32,
):
    """
    @notice Commit who contributed to the open round and the model that came of it.
    @param n Number of contributors: leaves of contributors_root.
    @param total_examples Sum of the contributors' examples, each capped by the rule.
    @param total_stake Sum of the contributors' stakes, in wei.
    @dev Coordinator only, from min_open_seconds after the opening until before the deadline.
         Reverts "role: not coordinator", "round: not open", "round: deadline passed",
         "round: seals early", "round: too few contributors", "round: more than members",
         "round: empty root", "round: total too large". Emits RoundSealed.
    """
    agreement._only_coordinator()
    self._require_open(round)
    opening: uint256 = self._records[round].opening
    earliest: uint256 = self._field(opening, OPENED_AT) + agreement.TERMS.min_open_seconds
    assert block.timestamp >= earliest, "round: seals early"
    assert n >= agreement.TERMS.min_contributors, "round: too few contributors"
    assert n <= self._field(opening, MEMBER_COUNT), "round: more than members"
    assert contributors_root != empty(bytes32), "round: empty root"
    assert new_model_root != empty(bytes32), "round: empty root"
    assert total_examples <= HALF_MASK and total_stake <= HALF_MASK, "round: total too large"
    height: uint256 = self._field(opening, HEIGHT)
    self._records[round].contributors_root = contributors_root
    self._records[round].new_model_root = new_model_root
    self._records[round].totals = total_examples | (total_stake << HALF)
    self._records[round].sealing = self._five(block.timestamp, block.number, n, 0, 0)
    self._at_height[height] = round
    self.head_height = height
    log RoundSealed(
        round=round,
        contributors_root=contributors_root,
        n=n,
        total_examples=total_examples,
        total_stake=total_stake,
        new_model_root=new_model_root,
        sealed_at=block.timestamp,
        sealed_block=block.number,
    )


@external
@nonreentrant
def settle_round(
    round: uint256, scores_root: bytes32, total_score: uint256, rewards_root: bytes32, paid: uint256
):
    """
    @notice Commit the scores of a sealed round and the cumulative rewards after it. The challenge
            window of the whole round starts here.
    @param paid Sum of the shares budget * score // total_score, in wei: nothing if no one scored,
           else less than n below the budget, for each share loses less than one wei.
    @dev Coordinator only, in height order. Reverts "role: not coordinator", "round: not sealed",
         "round: parent not settled", "round: empty root", "round: total too large",
         "round: pays over budget", "round: pays too little", "round: pays without score".
         Emits RoundSettled.
    """
    agreement._only_coordinator()
    assert self._status(round) == SEALED, "round: not sealed"
    parent: uint256 = self._field(self._records[round].opening, PARENT)
    if parent != 0:
        settled: uint256 = self._field(self._records[parent].sealing, SETTLED_AT)
        assert settled > 0, "round: parent not settled"
    assert scores_root != empty(bytes32), "round: empty root"
    assert rewards_root != empty(bytes32), "round: empty root"
    assert total_score <= HALF_MASK, "round: total too large"
    budget: uint256 = self._records[round].pledge & HALF_MASK
    sealing: uint256 = self._records[round].sealing
    if total_score == 0:
        assert paid == 0, "round: pays without score"
    else:
        assert paid <= budget, "round: pays over budget"
        assert paid + self._field(sealing, CONTRIBUTORS) > budget, "round: pays too little"
    self._records[round].scores_root = scores_root
    self._records[round].rewards_root = rewards_root
    self._records[round].outcome = total_score | (paid << HALF)
    self._records[round].sealing = sealing | (block.timestamp << (FIELD_BITS * SETTLED_AT))
    log RoundSettled(
        round=round,
        scores_root=scores_root,
        total_score=total_score,
        rewards_root=rewards_root,
        paid=paid,
        settled_at=block.timestamp,
    )


@external
@nonreentrant
def finalize_round(round: uint256):
    """
    @notice Make a settled round FINAL once its challenge window has passed, and make its rewards
            claimable.
    @dev Anyone, in height order, from the last second of the window or of a hold. Reverts
         "round: not settled", "round: parent not final", "round: window open".
         Emits RoundFinalized.
    """
    assert self._status(round) == SETTLED, "round: not settled"
    height: uint256 = self._field(self._records[round].opening, HEIGHT)
    assert height == self.final_height + 1, "round: parent not final"
    end: uint256 = self._window_end(self._records[round].sealing)
    assert block.timestamp >= end, "round: window open"
    root: bytes32 = self._records[round].rewards_root
    paid: uint256 = self._records[round].outcome >> HALF
    self.final_height = height
    rewards._release(paid, root)
    log RoundFinalized(round=round, rewards_root=root, paid=paid)


@external
@nonreentrant
def void_round(round: uint256, reason: bytes32):
    """
    @notice Give the open round up, saying why. Stakes and pool are untouched.
    @dev Coordinator only, before the deadline. Reverts "role: not coordinator",
         "round: not open", "round: deadline passed". Emits RoundVoided.
    """
    agreement._only_coordinator()
    self._require_open(round)
    self._abandon(round, reason)


@external
@nonreentrant
def expire_round(round: uint256):
    """
    @notice Record that the open round missed its deadline.
    @dev Anyone, from the deadline on. Reverts "round: not open", "round: before deadline".
         Emits RoundVoided with the reason "deadline".
    """
    assert self._is_open(round), "round: not open"
    deadline: uint256 = self._field(self._records[round].opening, DEADLINE)
    assert block.timestamp >= deadline, "round: before deadline"
    self._abandon(round, EXPIRED)


# --- views -----------------------------------------------------------------------------------


@external
@view
def status(round: uint256) -> uint256:
    """
    @notice 0 NONE, 1 OPEN, 2 SEALED, 3 SETTLED, 4 FINAL, 5 VOID. A round past its deadline is OPEN
            until that is recorded. Never reverts.
    """
    return self._status(round)


@external
@view
def at_height(height: uint256) -> uint256:
    """
    @notice The round last sealed at a height, from 1; live only up to head_height. Never reverts.
    """
    return self._at_height[height]


@external
@view
def opening(round: uint256) -> Opening:
    """
    @notice What was fixed when a round opened; all zero if it never did. Never reverts.
    """
    return self._opening(round)


@external
@view
def sealing(round: uint256) -> Sealing:
    """
    @notice What was committed when a round was sealed; all zero before. Never reverts.
    """
    return self._sealing(round)


@external
@view
def settlement(round: uint256) -> Settlement:
    """
    @notice What was committed when a round was settled, and how long the referee holds it open;
            zero before. Never reverts.
    """
    return self._settlement(round)


@external
@view
def record(round: uint256) -> (uint256, Opening, Sealing, Settlement):
    """
    @notice All there is of a round at once: status, opening, sealing, settlement. Never reverts.
    """
    return (
        self._status(round), self._opening(round), self._sealing(round), self._settlement(round)
    )
