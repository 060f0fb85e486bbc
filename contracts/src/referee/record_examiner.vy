# pragma version 0.4.3
# pragma evm-version prague
"""
@title Record examiner
@license Apache-2.0
@notice Proofs that the records of a round are wrong: its rule, the leaves of its contributors, its
        scores, its rewards; and checks of the answers to demands for such records.
@dev Stateless views, as in the aggregate examiner: each returns a verdict, or reverts with the
     reason why nothing is proven.
"""

from .. import evidence
from .. import merkle
from .. import rounds
from . import facts

initializes: facts

MAX_SIGNATURE: constant(uint256) = 256
# The fields' types in the committed leaves.
MAX_UINT64: constant(uint256) = 2**64 - 1
MAX_EXAMPLES_CAP: constant(uint256) = 2**40 - 1
MAX_CHUNK_VALUES: constant(uint256) = 2**20
MAX_SCALE_BITS: constant(uint256) = 30
# SHA-256 of {"kind":"examples"}, the one scoring that a contract can compute
EXAMPLES_SCORING: constant(bytes32) = (
    0x1a718cf7be34c4936d64b5510a1ab35f464812523cbeadc379075bf05eff18eb
)

# "invalid rule", padded
INVALID_RULE: constant(bytes32) = (
    0x696e76616c69642072756c650000000000000000000000000000000000000000
)
# "leaf: wrong round", padded
LEAF_ROUND: constant(bytes32) = (
    0x6c6561663a2077726f6e6720726f756e64000000000000000000000000000000
)
# "leaf: index out of range", padded
LEAF_INDEX: constant(bytes32) = (
    0x6c6561663a20696e646578206f7574206f662072616e67650000000000000000
)
# "leaf: not a member", padded
LEAF_MEMBER: constant(bytes32) = (
    0x6c6561663a206e6f742061206d656d6265720000000000000000000000000000
)
# "leaf: wrong stake", padded
LEAF_STAKE: constant(bytes32) = (
    0x6c6561663a2077726f6e67207374616b65000000000000000000000000000000
)
# "leaf: stake below minimum", padded
LEAF_MINIMUM: constant(bytes32) = (
    0x6c6561663a207374616b652062656c6f77206d696e696d756d00000000000000
)
# "leaf: examples out of range", padded
LEAF_EXAMPLES: constant(bytes32) = (
    0x6c6561663a206578616d706c6573206f7574206f662072616e67650000000000
)
# "leaf: wrong weight", padded
LEAF_WEIGHT: constant(bytes32) = (
    0x6c6561663a2077726f6e67207765696768740000000000000000000000000000
)
# "leaf: invalid signature", padded
LEAF_SIGNATURE: constant(bytes32) = (
    0x6c6561663a20696e76616c6964207369676e6174757265000000000000000000
)
# "leaves: same index", padded
PAIR_INDEX: constant(bytes32) = (
    0x6c65617665733a2073616d6520696e6465780000000000000000000000000000
)
# "leaves: same contributor", padded
PAIR_CONTRIBUTOR: constant(bytes32) = (
    0x6c65617665733a2073616d6520636f6e7472696275746f720000000000000000
)
# "leaves: wrong order", padded
PAIR_ORDER: constant(bytes32) = (
    0x6c65617665733a2077726f6e67206f7264657200000000000000000000000000
)
# "leaves: wrong apportionment", padded
PAIR_WEIGHTS: constant(bytes32) = (
    0x6c65617665733a2077726f6e67206170706f7274696f6e6d656e740000000000
)
# "score: wrong round", padded
SCORE_ROUND: constant(bytes32) = (
    0x73636f72653a2077726f6e6720726f756e640000000000000000000000000000
)
# "score: out of range", padded
SCORE_RANGE: constant(bytes32) = (
    0x73636f72653a206f7574206f662072616e676500000000000000000000000000
)
# "score: wrong value", padded
SCORE_VALUE: constant(bytes32) = (
    0x73636f72653a2077726f6e672076616c75650000000000000000000000000000
)
# "score: given twice", padded
SCORE_TWICE: constant(bytes32) = (
    0x73636f72653a20676976656e2074776963650000000000000000000000000000
)
# "score: not a contributor", padded
SCORE_STRAY: constant(bytes32) = (
    0x73636f72653a206e6f74206120636f6e7472696275746f720000000000000000
)
# "reward: wrong value", padded
REWARD_VALUE: constant(bytes32) = (
    0x7265776172643a2077726f6e672076616c756500000000000000000000000000
)
# "reward: not a member", padded
REWARD_OUTSIDER: constant(bytes32) = (
    0x7265776172643a206e6f742061206d656d626572000000000000000000000000
)


@deploy
def __init__(examined: address):
    """
    @notice Examine the rounds of one federation.
    @dev Reverts "referee: no federation".
    """
    facts.__init__(examined)


@external
@view
def federation() -> address:
    """
    @notice The federation whose rounds are examined. One word, so never taken for a verdict.
    """
    return facts.FEDERATION.address


# --- the rule --------------------------------------------------------------------------------


@internal
@pure
def _is_ranked(rule: facts.Rule) -> bool:
    return rule.kind == facts.MEDIAN or rule.kind == facts.TRIMMED_MEAN


@internal
@pure
def _is_valid(rule: facts.Rule) -> bool:
    """
    @dev What coordinator.protocol.rules.rule lets a coordinator announce. A kind that is not known
         here is no offence: only what holds for every kind is judged (ADR 0132).
    """
    if rule.version != 1 or rule.kind == 0:
        return False
    if rule.weighting != facts.BY_EXAMPLES and rule.weighting != facts.UNIFORM:
        return False
    if rule.kind == facts.FEDAVG and rule.num_byzantine != 0:
        return False
    if self._is_ranked(rule) and rule.weighting != facts.UNIFORM:
        return False
    return (
        rule.num_byzantine < 2**32
        and rule.examples_cap >= 1
        and rule.examples_cap <= MAX_EXAMPLES_CAP
        and rule.server_lr_q16 >= 1
        and rule.server_lr_q16 < 2**32
        and rule.server_momentum_q16 < 2**16
        and rule.dimension >= 1
        and rule.dimension <= facts.MAX_DIMENSION
        and rule.chunk_values >= 1
        and rule.chunk_values <= MAX_CHUNK_VALUES
        and rule.scale_bits <= MAX_SCALE_BITS
        and rule.min_contributors >= 1
        and rule.min_contributors <= facts.WEIGHT_TOTAL
        and rule.norm_bound_q <= MAX_UINT64
    )


@external
@view
def challenge_rule(round: uint256, rule: facts.Rule) -> facts.Verdict:
    """
    @notice Prove that a sealed round's rule is none that may be announced, or asks for more
            contributors than took part: min_contributors, and for median and trimmed mean more than
            twice num_byzantine.
    @dev Anyone. Other kinds have bounds of their own, which are not judged. Reverts "dispute: rule is right", "dispute: wrong rule",
         "dispute: round not sealed".
    """
    opening: rounds.Opening = staticcall facts.FEDERATION.opening(round)
    facts._require_rule(opening, rule)
    sealing: rounds.Sealing = facts._sealed(round)
    sound: bool = (
        self._is_valid(rule)
        and sealing.n >= rule.min_contributors
        and (not self._is_ranked(rule) or sealing.n > 2 * rule.num_byzantine)
    )
    assert not sound, "dispute: rule is right"
    return facts._fraud(round, 0, INVALID_RULE)


# --- contributors ----------------------------------------------------------------------------


@internal
@view
def _is_member(account: address, opening: rounds.Opening) -> bool:
    index: uint256 = staticcall facts.FEDERATION.member_index(account)
    return index > 0 and index <= opening.member_count


@internal
@pure
def _quota(
    rule: facts.Rule, sealing: rounds.Sealing, leaf: facts.Leaf
) -> (bool, uint256, uint256):
    """
    @dev Whether there is a quota, its floor, and what the division leaves.
    """
    total: uint256 = sealing.total_examples
    part: uint256 = facts._capped(rule, leaf)
    if rule.weighting == facts.UNIFORM:
        total = sealing.n
        part = 1
    else:
        assert rule.weighting == facts.BY_EXAMPLES, "dispute: rule not provable"
    if total == 0:
        return False, 0, 0
    exact: uint256 = part * facts.WEIGHT_TOTAL
    return True, exact // total, exact % total


@internal
@view
def _leaf_offence(
    round: uint256, rule: facts.Rule, opening: rounds.Opening, sealing: rounds.Sealing,
    leaf: facts.Leaf
) -> bytes32:
    if leaf.round != round:
        return LEAF_ROUND
    if leaf.index >= sealing.n:
        return LEAF_INDEX
    if not self._is_member(leaf.contributor, opening):
        return LEAF_MEMBER
    bond: uint256 = staticcall facts.FEDERATION.find_bond(leaf.contributor, round)
    if leaf.stake != bond:
        return LEAF_STAKE
    if bond < (staticcall facts.FEDERATION.terms()).min_stake:
        return LEAF_MINIMUM
    if leaf.examples > MAX_UINT64:
        return LEAF_EXAMPLES
    exists: bool = False
    least: uint256 = 0
    rest: uint256 = 0
    exists, least, rest = self._quota(rule, sealing, leaf)
    if exists and (leaf.weight == least or (rest > 0 and leaf.weight == least + 1)):
        return empty(bytes32)
    return LEAF_WEIGHT


@external
@view
def challenge_leaf(
    round: uint256,
    rule: facts.Rule,
    leaf: facts.Leaf,
    proof: DynArray[bytes32, merkle.MAX_DEPTH],
) -> facts.Verdict:
    """
    @notice Prove that a contributor's leaf is wrong by itself: its round, its index, who it names, its
            stake, its examples, or a weight that is neither floor nor ceiling of its quota.
    @dev Anyone. Reverts "dispute: leaf is right", or as any wrong proof.
    """
    opening: rounds.Opening = staticcall facts.FEDERATION.opening(round)
    facts._require_rule(opening, rule)
    sealing: rounds.Sealing = facts._sealed(round)
    facts._require_leaf(sealing.contributors_root, leaf, proof)
    offence: bytes32 = self._leaf_offence(round, rule, opening, sealing, leaf)
    assert offence != empty(bytes32), "dispute: leaf is right"
    return facts._fraud(round, 0, offence)


@internal
@view
def _is_signed(
    round: uint256, leaf: facts.Leaf, metrics_hash: bytes32, signature: Bytes[MAX_SIGNATURE]
) -> bool:
    if len(signature) != 65 or leaf.examples > MAX_UINT64:
        return False
    r: uint256 = extract32(signature, 0, output_type=uint256)
    s: uint256 = extract32(signature, 32, output_type=uint256)
    v: uint256 = convert(slice(signature, 64, 1), uint256)
    if s > evidence.MAX_S or (v != 27 and v != 28):
        return False
    opening: rounds.Opening = staticcall facts.FEDERATION.opening(round)
    digest: bytes32 = staticcall facts.FEDERATION.update_digest(
        evidence.Update(
            round=convert(round, uint64),
            baseModel=opening.model_root,
            update=leaf.update_root,
            examples=convert(leaf.examples, uint64),
            metricsHash=metrics_hash,
        )
    )
    signer: address = ecrecover(digest, v, r, s)
    return signer != empty(address) and signer == leaf.contributor


@internal
@pure
def _require_preimage(
    leaf: facts.Leaf, metrics_hash: bytes32, signature: Bytes[MAX_SIGNATURE]
):
    hashed: bytes32 = keccak256(concat(metrics_hash, signature))
    assert hashed == leaf.signature_hash, "dispute: other signature"


@external
@view
def challenge_signature(
    round: uint256,
    leaf: facts.Leaf,
    proof: DynArray[bytes32, merkle.MAX_DEPTH],
    metrics_hash: bytes32,
    signature: Bytes[MAX_SIGNATURE],
) -> facts.Verdict:
    """
    @notice Prove that the signature a leaf commits to is not the contributor's, low-s, over this
            round, this update and these examples.
    @param metrics_hash What was signed beside the update; with
    @param signature it hashes to the leaf's signature_hash.
    @dev Anyone. Reverts "dispute: signature is right", "dispute: other signature", or as any wrong
         proof.
    """
    sealing: rounds.Sealing = facts._sealed(round)
    facts._require_leaf(sealing.contributors_root, leaf, proof)
    self._require_preimage(leaf, metrics_hash, signature)
    signed: bool = self._is_signed(round, leaf, metrics_hash, signature)
    assert not signed, "dispute: signature is right"
    return facts._fraud(round, 0, LEAF_SIGNATURE)


@internal
@pure
def _comes_before(one: address, other: address) -> bool:
    return convert(one, uint160) < convert(other, uint160)


@internal
@pure
def _is_jumped(
    rule: facts.Rule, sealing: rounds.Sealing, up: facts.Leaf, down: facts.Leaf
) -> bool:
    """
    @dev Whether `up` was rounded up and `down` was not, though `down` comes first: it has the larger
         remainder, or as large a one and the smaller address.
    """
    exists: bool = False
    up_floor: uint256 = 0
    up_rest: uint256 = 0
    down_floor: uint256 = 0
    down_rest: uint256 = 0
    exists, up_floor, up_rest = self._quota(rule, sealing, up)
    exists, down_floor, down_rest = self._quota(rule, sealing, down)
    if not exists or up.weight != up_floor + 1 or down.weight != down_floor:
        return False
    if up_rest != down_rest:
        return down_rest > up_rest
    return self._comes_before(down.contributor, up.contributor)


@internal
@pure
def _pair_offence(
    rule: facts.Rule, sealing: rounds.Sealing, first: facts.Leaf, second: facts.Leaf
) -> bytes32:
    if first.index == second.index:
        return PAIR_INDEX
    if first.contributor == second.contributor:
        return PAIR_CONTRIBUTOR
    by_index: bool = first.index < second.index
    if self._comes_before(first.contributor, second.contributor) != by_index:
        return PAIR_ORDER
    jumped: bool = self._is_jumped(rule, sealing, first, second)
    if jumped or self._is_jumped(rule, sealing, second, first):
        return PAIR_WEIGHTS
    return empty(bytes32)


@external
@view
def challenge_pair(
    round: uint256,
    rule: facts.Rule,
    first: facts.Leaf,
    first_proof: DynArray[bytes32, merkle.MAX_DEPTH],
    second: facts.Leaf,
    second_proof: DynArray[bytes32, merkle.MAX_DEPTH],
) -> facts.Verdict:
    """
    @notice Prove that two leaves contradict each other: one index, one contributor, addresses not in
            the order of the indices, or a weight rounded up before one that had to be.
    @dev Anyone. Reverts "dispute: leaves are right", "dispute: same leaf", or as any wrong proof.
    """
    opening: rounds.Opening = staticcall facts.FEDERATION.opening(round)
    facts._require_rule(opening, rule)
    sealing: rounds.Sealing = facts._sealed(round)
    facts._require_leaf(sealing.contributors_root, first, first_proof)
    facts._require_leaf(sealing.contributors_root, second, second_proof)
    assert facts._leaf_hash(first) != facts._leaf_hash(second), "dispute: same leaf"
    offence: bytes32 = self._pair_offence(rule, sealing, first, second)
    assert offence != empty(bytes32), "dispute: leaves are right"
    return facts._fraud(round, 0, offence)


@internal
@view
def _require_absent(
    round: uint256,
    account: address,
    before: facts.Leaf,
    before_proof: DynArray[bytes32, merkle.MAX_DEPTH],
    after: facts.Leaf,
    after_proof: DynArray[bytes32, merkle.MAX_DEPTH],
):
    """
    @dev That an account took no part: it belongs between two neighbours, before the first leaf or
         behind the last. At an end the other leaf is not looked at.
    """
    sealing: rounds.Sealing = facts._sealed(round)
    ends: bool = before.index == sealing.n - 1
    starts: bool = not ends and after.index == 0
    if not starts:
        facts._require_leaf(sealing.contributors_root, before, before_proof)
        assert self._comes_before(before.contributor, account), "dispute: not between"
    if not ends:
        facts._require_leaf(sealing.contributors_root, after, after_proof)
        assert self._comes_before(account, after.contributor), "dispute: not between"
    assert starts or ends or after.index == before.index + 1, "dispute: not neighbours"


# --- scores ----------------------------------------------------------------------------------


@internal
@view
def _require_score(
    round: uint256, score: facts.Score, proof: DynArray[bytes32, merkle.MAX_DEPTH]
):
    settlement: rounds.Settlement = facts._settled(round)
    facts._require_score(settlement.scores_root, score, proof)


@external
@view
def challenge_score(
    round: uint256,
    rule: facts.Rule,
    leaf: facts.Leaf,
    leaf_proof: DynArray[bytes32, merkle.MAX_DEPTH],
    score: facts.Score,
    score_proof: DynArray[bytes32, merkle.MAX_DEPTH],
) -> facts.Verdict:
    """
    @notice Prove that under the scoring by examples a contributor's score is not its capped examples.
    @dev Anyone. Reverts "dispute: scoring not provable" for other scorings, "dispute: score is
         right", "dispute: other contributor", or as any wrong proof.
    """
    opening: rounds.Opening = staticcall facts.FEDERATION.opening(round)
    facts._require_rule(opening, rule)
    assert rule.scoring_hash == EXAMPLES_SCORING, "dispute: scoring not provable"
    sealing: rounds.Sealing = facts._sealed(round)
    facts._require_leaf(sealing.contributors_root, leaf, leaf_proof)
    self._require_score(round, score, score_proof)
    assert score.contributor == leaf.contributor, "dispute: other contributor"
    assert score.score != facts._capped(rule, leaf), "dispute: score is right"
    return facts._fraud(round, 0, SCORE_VALUE)


@external
@view
def challenge_score_form(
    round: uint256, score: facts.Score, proof: DynArray[bytes32, merkle.MAX_DEPTH]
) -> facts.Verdict:
    """
    @notice Prove that a score is of another round, or too large for its type.
    @dev Anyone. Reverts "dispute: score is right", or as any wrong proof.
    """
    self._require_score(round, score, proof)
    if score.round != round:
        return facts._fraud(round, 0, SCORE_ROUND)
    assert score.score > MAX_UINT64, "dispute: score is right"
    return facts._fraud(round, 0, SCORE_RANGE)


@external
@view
def challenge_score_pair(
    round: uint256,
    first: facts.Score,
    first_proof: DynArray[bytes32, merkle.MAX_DEPTH],
    second: facts.Score,
    second_proof: DynArray[bytes32, merkle.MAX_DEPTH],
) -> facts.Verdict:
    """
    @notice Prove that one contributor was given two different scores.
    @dev Anyone. Reverts "dispute: scores are right", or as any wrong proof.
    """
    self._require_score(round, first, first_proof)
    self._require_score(round, second, second_proof)
    twice: bool = first.contributor == second.contributor and first.score != second.score
    assert twice, "dispute: scores are right"
    return facts._fraud(round, 0, SCORE_TWICE)


@external
@view
def challenge_stray_score(
    round: uint256,
    score: facts.Score,
    score_proof: DynArray[bytes32, merkle.MAX_DEPTH],
    before: facts.Leaf,
    before_proof: DynArray[bytes32, merkle.MAX_DEPTH],
    after: facts.Leaf,
    after_proof: DynArray[bytes32, merkle.MAX_DEPTH],
) -> facts.Verdict:
    """
    @notice Prove that an account that took no part was given a score.
    @param before The leaf before where the account would be, and
    @param after the one behind; at an end of the tree only one of them counts.
    @dev Anyone. Reverts "dispute: not between", "dispute: not neighbours", or as any wrong proof.
    """
    self._require_score(round, score, score_proof)
    self._require_absent(round, score.contributor, before, before_proof, after, after_proof)
    return facts._fraud(round, 0, SCORE_STRAY)


# --- rewards ---------------------------------------------------------------------------------


@internal
@view
def _require_reward(
    round: uint256,
    account: address,
    cumulative: uint256,
    proof: DynArray[bytes32, merkle.MAX_DEPTH],
):
    settlement: rounds.Settlement = facts._settled(round)
    facts._require_reward(settlement.rewards_root, account, cumulative, proof)


@internal
@view
def _before(
    opening: rounds.Opening,
    account: address,
    previous: uint256,
    proof: DynArray[bytes32, merkle.MAX_DEPTH],
) -> uint256:
    """
    @dev What a member had earned before the round: its leaf in the parent's tree, which has one for
         each member registered when the parent opened.
    """
    if opening.parent == 0:
        return 0
    parent: rounds.Opening = staticcall facts.FEDERATION.opening(opening.parent)
    if not self._is_member(account, parent):
        return 0
    self._require_reward(opening.parent, account, previous, proof)
    return previous


@external
@view
def challenge_reward(
    round: uint256,
    account: address,
    cumulative: uint256,
    proof: DynArray[bytes32, merkle.MAX_DEPTH],
    previous: uint256,
    previous_proof: DynArray[bytes32, merkle.MAX_DEPTH],
    score: facts.Score,
    score_proof: DynArray[bytes32, merkle.MAX_DEPTH],
) -> facts.Verdict:
    """
    @notice Prove that a contributor's rewards after the round are not those before it and its share.
    @param cumulative In the leaf of the round's rewards tree.
    @param previous In the leaf of the parent's; ignored for one that joined later.
    @dev Anyone. Reverts "dispute: reward is right", "dispute: other contributor", or as any wrong
         proof.
    """
    self._require_reward(round, account, cumulative, proof)
    self._require_score(round, score, score_proof)
    same: bool = score.contributor == account and score.round == round
    assert same, "dispute: other contributor"
    opening: rounds.Opening = staticcall facts.FEDERATION.opening(round)
    settlement: rounds.Settlement = facts._settled(round)
    share: uint256 = facts._payment(opening.budget, score.score, settlement.total_score)
    earned: uint256 = self._before(opening, account, previous, previous_proof)
    assert cumulative != unsafe_add(earned, share), "dispute: reward is right"
    return facts._fraud(round, 0, REWARD_VALUE)


@external
@view
def challenge_idle_reward(
    round: uint256,
    account: address,
    cumulative: uint256,
    proof: DynArray[bytes32, merkle.MAX_DEPTH],
    previous: uint256,
    previous_proof: DynArray[bytes32, merkle.MAX_DEPTH],
    before: facts.Leaf,
    before_proof: DynArray[bytes32, merkle.MAX_DEPTH],
    after: facts.Leaf,
    after_proof: DynArray[bytes32, merkle.MAX_DEPTH],
) -> facts.Verdict:
    """
    @notice Prove that the rewards of an account that took no part changed in the round.
    @param before The leaf before where the account would be, and
    @param after the one behind; at an end of the tree only one of them counts.
    @dev Anyone. Reverts "dispute: reward is right", "dispute: not between",
         "dispute: not neighbours", or as any wrong proof.
    """
    self._require_reward(round, account, cumulative, proof)
    self._require_absent(round, account, before, before_proof, after, after_proof)
    opening: rounds.Opening = staticcall facts.FEDERATION.opening(round)
    earned: uint256 = self._before(opening, account, previous, previous_proof)
    assert cumulative != earned, "dispute: reward is right"
    return facts._fraud(round, 0, REWARD_VALUE)


@external
@view
def challenge_outsider(
    round: uint256,
    account: address,
    cumulative: uint256,
    proof: DynArray[bytes32, merkle.MAX_DEPTH],
) -> facts.Verdict:
    """
    @notice Prove that the rewards tree has a leaf for somebody who was no member when the round
            opened.
    @dev Anyone. Reverts "dispute: is a member", or as any wrong proof.
    """
    self._require_reward(round, account, cumulative, proof)
    opening: rounds.Opening = staticcall facts.FEDERATION.opening(round)
    assert not self._is_member(account, opening), "dispute: is a member"
    return facts._fraud(round, 0, REWARD_OUTSIDER)


# --- answers ---------------------------------------------------------------------------------


@external
@view
def answer_rule(id: uint256, rule: facts.Rule) -> facts.Verdict:
    """
    @notice The demanded rule.
    @dev Anyone, through the referee's answer. Reverts "dispute: wrong rule".
    """
    case: facts.Case = facts._case(id, facts.RULE)
    opening: rounds.Opening = staticcall facts.FEDERATION.opening(case.round)
    facts._require_rule(opening, rule)
    return facts._answer(id)


@external
@view
def answer_contributor(
    id: uint256,
    leaf: facts.Leaf,
    proof: DynArray[bytes32, merkle.MAX_DEPTH],
    metrics_hash: bytes32,
    signature: Bytes[MAX_SIGNATURE],
) -> facts.Verdict:
    """
    @notice The demanded contributor's leaf, and the signature it commits to.
    @dev Anyone, through the referee's answer. Reverts "dispute: other contributor",
         "dispute: other signature", or as any wrong proof.
    """
    case: facts.Case = facts._case(id, facts.CONTRIBUTOR)
    self._require_contributor(case, leaf, proof)
    self._require_preimage(leaf, metrics_hash, signature)
    return facts._answer(id)


@internal
@view
def _require_contributor(
    case: facts.Case, leaf: facts.Leaf, proof: DynArray[bytes32, merkle.MAX_DEPTH]
):
    sealing: rounds.Sealing = facts._sealed(case.round)
    facts._require_leaf(sealing.contributors_root, leaf, proof)
    same: bool = leaf.index == case.index and leaf.round == case.round
    assert same, "dispute: other contributor"


@external
@view
def answer_score(
    id: uint256,
    leaf: facts.Leaf,
    leaf_proof: DynArray[bytes32, merkle.MAX_DEPTH],
    score: facts.Score,
    score_proof: DynArray[bytes32, merkle.MAX_DEPTH],
) -> facts.Verdict:
    """
    @notice The demanded score of a contributor, with the leaf that says who it is.
    @dev Anyone, through the referee's answer. Reverts "dispute: other contributor", or as any wrong
         proof.
    """
    case: facts.Case = facts._case(id, facts.SCORE)
    self._require_contributor(case, leaf, leaf_proof)
    self._require_score(case.round, score, score_proof)
    same: bool = score.contributor == leaf.contributor and score.round == case.round
    assert same, "dispute: other contributor"
    return facts._answer(id)


@external
@view
def answer_reward(
    id: uint256, cumulative: uint256, proof: DynArray[bytes32, merkle.MAX_DEPTH]
) -> facts.Verdict:
    """
    @notice The demanded rewards of a member, in the member's place in the tree.
    @dev Anyone, through the referee's answer. With one leaf for each member, as deep as its place
         says, a tree has no room for another (Kraft's inequality): answers to all leave none that
         nobody has seen. Reverts "dispute: wrong place", or as any wrong proof.
    """
    case: facts.Case = facts._case(id, facts.REWARD)
    account: address = staticcall facts.FEDERATION.member(case.index)
    self._require_reward(case.round, account, cumulative, proof)
    opening: rounds.Opening = staticcall facts.FEDERATION.opening(case.round)
    depth: uint256 = self._depth(case.index - 1, opening.member_count)
    assert len(proof) == depth, "dispute: wrong place"
    return facts._answer(id)


@internal
@pure
def _depth(place: uint256, size: uint256) -> uint256:
    """
    @dev How many siblings a leaf has in OpenZeppelin's layout: leaf i of n is node 2n - 2 - i, the
         parent of node i is (i - 1) // 2, and the root is node 0. Counted from 1 here.
    """
    node: uint256 = 2 * size - 1 - place
    depth: uint256 = 0
    for _: uint256 in range(merkle.MAX_DEPTH):
        if node <= 1:
            break
        node //= 2
        depth += 1
    return depth
