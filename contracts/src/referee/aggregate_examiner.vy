# pragma version 0.4.3
# pragma evm-version prague
"""
@title Aggregate examiner
@license Apache-2.0
@notice Proofs that a round's new model is not what the committed updates and the announced rule
        give, or that a column the coordinator answered with does not follow.
@dev Stateless views: each returns a verdict, or reverts with the reason why nothing is proven. The
     referee carries verdicts out; called by anyone else they have no effect. Every function here
     returns a Verdict, so that nothing else can be taken for one.
"""

from .. import merkle
from .. import rounds
from . import arithmetic
from . import facts
from . import inclusion

initializes: facts

# Layout of the bytes after the arguments of challenge_chunk.
HEAD: constant(uint256) = 4 + 32 * 18
DIRECT_CHUNK_BYTES: constant(uint256) = 1024
MAX_DIRECT: constant(uint256) = 512
ADDRESS_SHIFT: constant(uint256) = 96
EXAMPLES_SHIFT: constant(uint256) = 32

# "wrong aggregate", padded
WRONG_AGGREGATE: constant(bytes32) = (
    0x77726f6e67206167677265676174650000000000000000000000000000000000
)
# "wrong padding", padded
WRONG_PADDING: constant(bytes32) = (
    0x77726f6e672070616464696e6700000000000000000000000000000000000000
)
# "wrong totals", padded
WRONG_TOTALS: constant(bytes32) = (
    0x77726f6e6720746f74616c730000000000000000000000000000000000000000
)
# "wrong payments", padded
WRONG_PAYMENTS: constant(bytes32) = (
    0x77726f6e67207061796d656e7473000000000000000000000000000000000000
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


# --- what every aggregate needs --------------------------------------------------------------


@internal
@view
def _require_provable(round: uint256, rule: facts.Rule) -> rounds.Opening:
    opening: rounds.Opening = staticcall facts.FEDERATION.opening(round)
    facts._require_rule(opening, rule)
    provable: bool = (
        facts._has_known_rule(rule)
        and rule.server_momentum_q16 == 0
        and rule.dimension <= facts.MAX_DIMENSION
        and rule.chunk_values > 0
        and rule.chunk_values <= facts.MAX_CHUNK_VALUES
    )
    assert provable, "dispute: rule not provable"
    return opening


@internal
@pure
def _chunk_count(rule: facts.Rule) -> uint256:
    return (rule.dimension + rule.chunk_values - 1) // rule.chunk_values


@internal
@pure
def _chunk_root(
    rule: facts.Rule,
    chunk: uint256,
    data: Bytes[inclusion.MAX_CHUNK_BYTES],
    path: DynArray[bytes32, inclusion.MAX_PATH],
) -> bytes32:
    assert len(data) == 4 * rule.chunk_values, "dispute: wrong chunk length"
    leaf: bytes32 = sha256(concat(0x00, data))
    tree_root: bytes32 = inclusion._root(leaf, chunk, self._chunk_count(rule), path)
    return inclusion._bound(rule.manifest_hash, tree_root, rule.dimension)


@internal
@pure
def _value(
    root: bytes32,
    rule: facts.Rule,
    parameter: uint256,
    data: Bytes[inclusion.MAX_CHUNK_BYTES],
    path: DynArray[bytes32, inclusion.MAX_PATH],
) -> int256:
    """
    @dev One parameter of a committed vector.
    """
    chunk: uint256 = parameter // rule.chunk_values
    assert self._chunk_root(rule, chunk, data, path) == root, "dispute: no such chunk"
    lane: uint256 = parameter % rule.chunk_values
    return convert(slice(data, 4 * lane, 4), int256)


# --- direct: one transaction -----------------------------------------------------------------


@internal
@view
def _word(offset: uint256) -> bytes32:
    return convert(slice(msg.data, offset, 32), bytes32)


@internal
@view
def _direct_value(
    root: bytes32, rule: facts.Rule, parameter: uint256, siblings: uint256, offset: uint256
) -> int256:
    """
    @dev As _value, from a path and a chunk that lie one behind the other in the call's data.
    """
    place: uint256 = parameter // rule.chunk_values
    width: uint256 = self._chunk_count(rule)
    size: uint256 = 4 * rule.chunk_values
    data: Bytes[DIRECT_CHUNK_BYTES] = slice(
        msg.data, offset + 32 * siblings, DIRECT_CHUNK_BYTES
    )
    node: bytes32 = sha256(concat(0x00, slice(data, 0, size)))
    at: uint256 = offset
    for _: uint256 in range(inclusion.MAX_PATH):
        if width <= 1:
            break
        if place ^ 1 < width:
            sibling: bytes32 = self._word(at)
            if place % 2 == 1:
                node = inclusion._node(sibling, node)
            else:
                node = inclusion._node(node, sibling)
            at += 32
        place //= 2
        width = (width + 1) // 2
    found: bytes32 = inclusion._bound(rule.manifest_hash, node, rule.dimension)
    assert found == root, "dispute: no such chunk"
    lane: uint256 = parameter % rule.chunk_values
    return convert(slice(data, 4 * lane, 4), int256)


@internal
@view
def _direct_leaf(round: uint256, index: uint256, offset: uint256) -> facts.Leaf:
    packed: uint256 = convert(self._word(offset), uint256)
    return facts.Leaf(
        round=round,
        index=index,
        contributor=convert(packed >> ADDRESS_SHIFT, address),
        update_root=self._word(offset + 32),
        examples=(packed >> EXAMPLES_SHIFT) & (2**64 - 1),
        weight=packed & (2**32 - 1),
        stake=convert(self._word(offset + 64), uint256),
        signature_hash=self._word(offset + 96),
    )


@external
@view
def challenge_chunk(
    round: uint256, rule: facts.Rule, parameter: uint256, lo: int256, hi: int256
) -> facts.Verdict:
    """
    @notice Prove in one transaction that the chunk of the new model that holds a parameter is wrong,
            by aggregating that parameter over all contributors.
    @param rule The announced rule; must hash to the round's rule_hash.
    @param parameter Index in the flattened model.
    @param lo Smallest and
    @param hi largest value kept, for a coordinate-wise rule; verified by counting. Else ignored.
    @dev Anyone. Behind the arguments lie, unframed: path and chunk of the base model; path and
         chunk of the new model; for each contributor in order its leaf in four words (address 160
         bits | examples 64 | weight 32; update root; stake; signature hash), path and chunk of its
         update; zeros up to 1,024 bytes from the start of the last chunk. All leaves are there, so
         the contributors tree is built anew in its standard shape: no proofs, and none left out.
         Reverts "dispute: chunk is right", "dispute: wrong order statistics", or as any wrong proof.
    """
    opening: rounds.Opening = self._require_provable(round, rule)
    sealing: rounds.Sealing = facts._sealed(round)
    assert parameter < rule.dimension, "dispute: index out of range"
    n: uint256 = sealing.n
    assert n <= MAX_DIRECT, "dispute: too many for one call"
    size: uint256 = 4 * rule.chunk_values
    assert size <= DIRECT_CHUNK_BYTES, "dispute: too large for one call"
    siblings: uint256 = inclusion._siblings(
        parameter // rule.chunk_values, self._chunk_count(rule)
    )
    stride: uint256 = 32 * siblings + size
    length: uint256 = HEAD + 2 * stride + n * (128 + stride) + DIRECT_CHUNK_BYTES - size
    assert len(msg.data) == length, "dispute: wrong length"

    base: int256 = self._direct_value(opening.model_root, rule, parameter, siblings, HEAD)
    found: int256 = self._direct_value(
        sealing.new_model_root, rule, parameter, siblings, HEAD + stride
    )
    nodes: bytes32[2 * MAX_DIRECT] = empty(bytes32[2 * MAX_DIRECT])
    entry: int256[5] = empty(int256[5])
    at: uint256 = HEAD + 2 * stride
    for i: uint256 in range(n, bound=MAX_DIRECT):
        leaf: facts.Leaf = self._direct_leaf(round, i, at)
        nodes[2 * n - 2 - i] = facts._leaf_hash(leaf)
        given: int256 = self._direct_value(leaf.update_root, rule, parameter, siblings, at + 128)
        entry = arithmetic._followed(rule, lo, hi, entry, given, leaf.weight)
        at += 128 + stride
    for i: uint256 in range(n - 1, bound=MAX_DIRECT):
        parent: uint256 = n - 2 - i
        nodes[parent] = inclusion._pair(nodes[2 * parent + 1], nodes[2 * parent + 2])
    assert nodes[0] == sealing.contributors_root, "dispute: wrong contributors"
    if rule.kind != facts.FEDAVG:
        # A wrong claim of the caller's proves nothing.
        ranked: bool = lo <= hi and arithmetic._ranked(rule, n, entry)
        assert ranked, "dispute: wrong order statistics"
    aggregate: int256 = arithmetic._aggregate(rule, n, lo, hi, entry)
    assert not arithmetic._follows(rule, base, aggregate, found), "dispute: chunk is right"
    return facts._fraud(round, 0, WRONG_AGGREGATE)


@external
@view
def challenge_padding(
    round: uint256,
    rule: facts.Rule,
    data: Bytes[inclusion.MAX_CHUNK_BYTES],
    path: DynArray[bytes32, inclusion.MAX_PATH],
) -> facts.Verdict:
    """
    @notice Prove that the last chunk of the new model has something behind the last parameter.
    @dev Anyone. Reverts "dispute: padding is right", or as any wrong proof.
    """
    self._require_provable(round, rule)
    sealing: rounds.Sealing = facts._sealed(round)
    last: uint256 = self._chunk_count(rule) - 1
    assert self._chunk_root(rule, last, data, path) == sealing.new_model_root, (
        "dispute: no such chunk"
    )
    assert not self._is_padded(rule, last, data), "dispute: padding is right"
    return facts._fraud(round, 0, WRONG_PADDING)


@internal
@pure
def _is_padded(
    rule: facts.Rule, chunk: uint256, data: Bytes[inclusion.MAX_CHUNK_BYTES]
) -> bool:
    for lane: uint256 in range(rule.chunk_values, bound=facts.MAX_CHUNK_VALUES):
        if chunk * rule.chunk_values + lane >= rule.dimension:
            if convert(slice(data, 4 * lane, 4), uint256) != 0:
                return False
    return True


# --- columns: any number of contributors -----------------------------------------------------


@internal
@view
def _require_entry(
    case: facts.Case,
    entry: int256[5],
    index: uint256,
    path: DynArray[bytes32, inclusion.MAX_PATH],
):
    sealing: rounds.Sealing = facts._sealed(case.round)
    inclusion._require_entry(case.root, entry, index, sealing.n + 1, path)


@external
@view
def prove_first(
    id: uint256, kind: uint256, entry: int256[5], path: DynArray[bytes32, inclusion.MAX_PATH]
) -> facts.Verdict:
    """
    @notice Prove that an answered column does not start from zero.
    @param kind Of the case: 1 aggregate, 2 totals, 3 payments.
    @dev Anyone, through the referee. Reverts "dispute: entry is right", or as any wrong proof.
    """
    case: facts.Case = facts._case(id, kind)
    self._require_entry(case, entry, 0, path)
    zero: bool = True
    for number: int256 in entry:
        zero = zero and number == 0
    assert not zero, "dispute: entry is right"
    return facts._fraud(case.round, id, self._offence(kind))


@internal
@pure
def _offence(kind: uint256) -> bytes32:
    if kind == facts.TOTALS:
        return WRONG_TOTALS
    if kind == facts.PAYMENTS:
        return WRONG_PAYMENTS
    return WRONG_AGGREGATE


@internal
@pure
def _is_equal(one: int256[5], other: int256[5]) -> bool:
    return keccak256(abi_encode(one)) == keccak256(abi_encode(other))


@external
@view
def prove_step(
    id: uint256,
    rule: facts.Rule,
    leaf: facts.Leaf,
    leaf_proof: DynArray[bytes32, merkle.MAX_DEPTH],
    before: int256[5],
    before_path: DynArray[bytes32, inclusion.MAX_PATH],
    after: int256[5],
    after_path: DynArray[bytes32, inclusion.MAX_PATH],
    data: Bytes[inclusion.MAX_CHUNK_BYTES],
    path: DynArray[bytes32, inclusion.MAX_PATH],
) -> facts.Verdict:
    """
    @notice Prove that in an answered column of one parameter, the entry after a contributor does
            not follow from the entry before it, the contributor's weight and its update.
    @param leaf Of the contributor; its index says which entries these are.
    @param data The chunk of its update that holds the parameter, and
    @param path its inclusion proof.
    @dev Anyone, through the referee. Reverts "dispute: step is right", or as any wrong proof.
    """
    case: facts.Case = facts._case(id, facts.AGGREGATE)
    self._require_provable(case.round, rule)
    self._require_entry(case, before, leaf.index, before_path)
    self._require_entry(case, after, leaf.index + 1, after_path)
    sealing: rounds.Sealing = facts._sealed(case.round)
    facts._require_leaf(sealing.contributors_root, leaf, leaf_proof)
    given: int256 = self._value(leaf.update_root, rule, case.index, data, path)
    expected: int256[5] = arithmetic._followed(
        rule, case.lo, case.hi, before, given, leaf.weight
    )
    assert not self._is_equal(after, expected), "dispute: step is right"
    return facts._fraud(case.round, id, WRONG_AGGREGATE)


@external
@view
def prove_last(
    id: uint256,
    rule: facts.Rule,
    entry: int256[5],
    entry_path: DynArray[bytes32, inclusion.MAX_PATH],
    base_data: Bytes[inclusion.MAX_CHUNK_BYTES],
    base_path: DynArray[bytes32, inclusion.MAX_PATH],
    new_data: Bytes[inclusion.MAX_CHUNK_BYTES],
    new_path: DynArray[bytes32, inclusion.MAX_PATH],
) -> facts.Verdict:
    """
    @notice Prove that the last entry of an answered column of one parameter does not give the
            committed new model, or contradicts the order statistics answered with it.
    @dev Anyone, through the referee. Reverts "dispute: chunk is right", or as any wrong proof.
    """
    case: facts.Case = facts._case(id, facts.AGGREGATE)
    opening: rounds.Opening = self._require_provable(case.round, rule)
    sealing: rounds.Sealing = facts._sealed(case.round)
    n: uint256 = sealing.n
    inclusion._require_entry(case.root, entry, n, n + 1, entry_path)
    base: int256 = self._value(opening.model_root, rule, case.index, base_data, base_path)
    found: int256 = self._value(sealing.new_model_root, rule, case.index, new_data, new_path)
    sound: bool = rule.kind == facts.FEDAVG or arithmetic._ranked(rule, n, entry)
    if sound:
        aggregate: int256 = arithmetic._aggregate(rule, n, case.lo, case.hi, entry)
        sound = arithmetic._follows(rule, base, aggregate, found)
    assert not sound, "dispute: chunk is right"
    return facts._fraud(case.round, id, WRONG_AGGREGATE)


@external
@view
def prove_totals_step(
    id: uint256,
    rule: facts.Rule,
    leaf: facts.Leaf,
    leaf_proof: DynArray[bytes32, merkle.MAX_DEPTH],
    before: int256[5],
    before_path: DynArray[bytes32, inclusion.MAX_PATH],
    after: int256[5],
    after_path: DynArray[bytes32, inclusion.MAX_PATH],
) -> facts.Verdict:
    """
    @notice Prove that in an answered column of totals (weights, capped examples, stakes), an entry
            does not follow from the one before it and the contributor's leaf.
    @dev Anyone, through the referee. Reverts "dispute: step is right", or as any wrong proof.
    """
    case: facts.Case = facts._case(id, facts.TOTALS)
    opening: rounds.Opening = staticcall facts.FEDERATION.opening(case.round)
    facts._require_rule(opening, rule)
    self._require_entry(case, before, leaf.index, before_path)
    self._require_entry(case, after, leaf.index + 1, after_path)
    sealing: rounds.Sealing = facts._sealed(case.round)
    facts._require_leaf(sealing.contributors_root, leaf, leaf_proof)
    expected: int256[5] = [
        self._raised(before[0], leaf.weight),
        self._raised(before[1], facts._capped(rule, leaf)),
        self._raised(before[2], leaf.stake),
        before[3],
        before[4],
    ]
    assert not self._is_equal(after, expected), "dispute: step is right"
    return facts._fraud(case.round, id, WRONG_TOTALS)


@internal
@pure
def _raised(sum: int256, amount: uint256) -> int256:
    # Modulo 2**256, whatever the leaf says: see arithmetic.
    word: uint256 = unsafe_add(convert(convert(sum, bytes32), uint256), amount)
    return convert(convert(word, bytes32), int256)


@external
@view
def prove_totals_last(
    id: uint256, entry: int256[5], path: DynArray[bytes32, inclusion.MAX_PATH]
) -> facts.Verdict:
    """
    @notice Prove that an answered column of totals does not end in 2^24 and the committed totals.
    @dev Anyone, through the referee. Reverts "dispute: totals are right", or as any wrong proof.
    """
    case: facts.Case = facts._case(id, facts.TOTALS)
    sealing: rounds.Sealing = facts._sealed(case.round)
    inclusion._require_entry(case.root, entry, sealing.n, sealing.n + 1, path)
    committed: int256[5] = [
        convert(facts.WEIGHT_TOTAL, int256),
        convert(sealing.total_examples, int256),
        convert(sealing.total_stake, int256),
        0,
        0,
    ]
    assert not self._is_equal(entry, committed), "dispute: totals are right"
    return facts._fraud(case.round, id, WRONG_TOTALS)


@external
@view
def prove_payments_step(
    id: uint256,
    leaf: facts.Leaf,
    leaf_proof: DynArray[bytes32, merkle.MAX_DEPTH],
    score: facts.Score,
    score_proof: DynArray[bytes32, merkle.MAX_DEPTH],
    before: int256[5],
    before_path: DynArray[bytes32, inclusion.MAX_PATH],
    after: int256[5],
    after_path: DynArray[bytes32, inclusion.MAX_PATH],
) -> facts.Verdict:
    """
    @notice Prove that in an answered column of payments (scores, shares of the budget), an entry
            does not follow from the one before it and the contributor's score.
    @dev Anyone, through the referee. Reverts "dispute: step is right", "dispute: other
         contributor", or as any wrong proof.
    """
    case: facts.Case = facts._case(id, facts.PAYMENTS)
    self._require_entry(case, before, leaf.index, before_path)
    self._require_entry(case, after, leaf.index + 1, after_path)
    sealing: rounds.Sealing = facts._sealed(case.round)
    settlement: rounds.Settlement = facts._settled(case.round)
    facts._require_leaf(sealing.contributors_root, leaf, leaf_proof)
    facts._require_score(settlement.scores_root, score, score_proof)
    same: bool = score.contributor == leaf.contributor and score.round == case.round
    assert same, "dispute: other contributor"
    opening: rounds.Opening = staticcall facts.FEDERATION.opening(case.round)
    share: uint256 = facts._payment(opening.budget, score.score, settlement.total_score)
    expected: int256[5] = [
        self._raised(before[0], score.score),
        self._raised(before[1], share),
        before[2],
        before[3],
        before[4],
    ]
    assert not self._is_equal(after, expected), "dispute: step is right"
    return facts._fraud(case.round, id, WRONG_PAYMENTS)


@external
@view
def prove_payments_last(
    id: uint256, entry: int256[5], path: DynArray[bytes32, inclusion.MAX_PATH]
) -> facts.Verdict:
    """
    @notice Prove that an answered column of payments does not end in the committed total score and
            payment.
    @dev Anyone, through the referee. Reverts "dispute: payments are right", or as any wrong proof.
    """
    case: facts.Case = facts._case(id, facts.PAYMENTS)
    sealing: rounds.Sealing = facts._sealed(case.round)
    settlement: rounds.Settlement = facts._settled(case.round)
    inclusion._require_entry(case.root, entry, sealing.n, sealing.n + 1, path)
    committed: int256[5] = [
        convert(settlement.total_score, int256), convert(settlement.paid, int256), 0, 0, 0
    ]
    assert not self._is_equal(entry, committed), "dispute: payments are right"
    return facts._fraud(case.round, id, WRONG_PAYMENTS)


# --- answers ---------------------------------------------------------------------------------


@external
@view
def answer_entry(
    id: uint256, kind: uint256, entry: int256[5], path: DynArray[bytes32, inclusion.MAX_PATH]
) -> facts.Verdict:
    """
    @notice The demanded entry of an answered column, with its inclusion proof.
    @dev Anyone, through the referee's answer. Reverts "dispute: no entry demanded", or as any wrong
         proof.
    """
    case: facts.Case = facts._case(id, kind)
    assert case.entry > 0, "dispute: no entry demanded"
    self._require_entry(case, entry, case.entry - 1, path)
    return facts._answer(id)


@external
@view
def answer_update_chunk(
    id: uint256,
    rule: facts.Rule,
    leaf: facts.Leaf,
    leaf_proof: DynArray[bytes32, merkle.MAX_DEPTH],
    data: Bytes[inclusion.MAX_CHUNK_BYTES],
    path: DynArray[bytes32, inclusion.MAX_PATH],
) -> facts.Verdict:
    """
    @notice The demanded chunk of a contributor's update, with the leaf that commits to it.
    @dev Anyone, through the referee's answer. Reverts "dispute: other contributor",
         "dispute: no such chunk", "dispute: padding is wrong", or as any wrong proof.
    """
    case: facts.Case = facts._case(id, facts.UPDATE)
    opening: rounds.Opening = staticcall facts.FEDERATION.opening(case.round)
    facts._require_rule(opening, rule)
    sealing: rounds.Sealing = facts._sealed(case.round)
    facts._require_leaf(sealing.contributors_root, leaf, leaf_proof)
    same: bool = leaf.index == case.index and leaf.round == case.round
    assert same, "dispute: other contributor"
    self._require_chunk(leaf.update_root, rule, case.chunk, data, path)
    return facts._answer(id)


@external
@view
def answer_model_chunk(
    id: uint256,
    kind: uint256,
    rule: facts.Rule,
    data: Bytes[inclusion.MAX_CHUNK_BYTES],
    path: DynArray[bytes32, inclusion.MAX_PATH],
) -> facts.Verdict:
    """
    @notice The demanded chunk of the round's base model (kind 7) or new model (kind 8).
    @dev Anyone, through the referee's answer. Reverts "dispute: other kind of case",
         "dispute: no such chunk", "dispute: padding is wrong", or as any wrong proof.
    """
    assert kind == facts.BASE_MODEL or kind == facts.NEW_MODEL, "dispute: other kind of case"
    case: facts.Case = facts._case(id, kind)
    opening: rounds.Opening = staticcall facts.FEDERATION.opening(case.round)
    facts._require_rule(opening, rule)
    root: bytes32 = opening.model_root
    if kind == facts.NEW_MODEL:
        sealing: rounds.Sealing = facts._sealed(case.round)
        root = sealing.new_model_root
    self._require_chunk(root, rule, case.chunk, data, path)
    return facts._answer(id)


@internal
@pure
def _require_chunk(
    root: bytes32,
    rule: facts.Rule,
    chunk: uint256,
    data: Bytes[inclusion.MAX_CHUNK_BYTES],
    path: DynArray[bytes32, inclusion.MAX_PATH],
):
    assert self._chunk_root(rule, chunk, data, path) == root, "dispute: no such chunk"
    assert self._is_padded(rule, chunk, data), "dispute: padding is wrong"
