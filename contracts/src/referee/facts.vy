# pragma version 0.4.3
# pragma evm-version prague
"""
@title Facts
@license Apache-2.0
@notice What a dispute is judged by: the federation's own record of a round, the rule and the leaves
        that hash to what it committed, and how examiners tell the referee what they found.
@dev Numbers of rules and leaves are read as full words. A value outside its narrower type can then
     not hide behind a failing decoder: it hashes to what was committed, or it is not the one.
"""

from .. import federation
from .. import merkle
from .. import rounds


struct Rule:
    version: uint256
    kind: uint256
    weighting: uint256
    num_byzantine: uint256
    examples_cap: uint256
    server_lr_q16: uint256
    server_momentum_q16: uint256
    manifest_hash: bytes32
    dimension: uint256
    chunk_values: uint256
    scale_bits: uint256
    min_contributors: uint256
    norm_bound_q: uint256
    scoring_hash: bytes32


struct Leaf:
    round: uint256
    index: uint256
    contributor: address
    update_root: bytes32
    examples: uint256
    weight: uint256
    stake: uint256
    signature_hash: bytes32


struct Score:
    round: uint256
    contributor: address
    score: uint256


struct Case:
    round: uint256
    kind: uint256
    index: uint256  # of a parameter, a contributor from 0, or a member from 1
    chunk: uint256
    state: uint256
    due: uint256  # WAITING: answer before; ANSWERED: refute before
    challenger: address
    deposit: uint256
    root: bytes32  # of the answered column
    lo: int256  # smallest and largest kept value of a coordinate-wise column
    hi: int256
    entry: uint256  # of the column demanded, plus one; 0 for none
    demands: uint256


struct Verdict:
    tag: bytes32
    round: uint256
    case: uint256  # 0 for a proof that needs none
    offence: bytes32


interface CaseBook:
    def case_of(id: uint256) -> Case: view


# Tags mark what an examiner's result means. Their first word is nothing a caller can choose.
FRAUD: constant(bytes32) = keccak256("fedproof examiner: fraud is proven")
ANSWER: constant(bytes32) = keccak256("fedproof examiner: the answer is right")

# Kinds of case: a column of running entries over the contributors, or a demand for data.
AGGREGATE: constant(uint256) = 1
TOTALS: constant(uint256) = 2
PAYMENTS: constant(uint256) = 3
RULE: constant(uint256) = 4
CONTRIBUTOR: constant(uint256) = 5
UPDATE: constant(uint256) = 6
BASE_MODEL: constant(uint256) = 7
NEW_MODEL: constant(uint256) = 8
SCORE: constant(uint256) = 9
REWARD: constant(uint256) = 10

FEDAVG: constant(uint256) = 1
MEDIAN: constant(uint256) = 2
TRIMMED_MEAN: constant(uint256) = 3
BY_EXAMPLES: constant(uint256) = 1
UNIFORM: constant(uint256) = 2
WEIGHT_TOTAL: constant(uint256) = 2**24
MAX_DIMENSION: constant(uint256) = 2**48
MAX_CHUNK_VALUES: constant(uint256) = 1024  # a chunk of 4 KiB and its proofs fit any transaction

FEDERATION: immutable(federation.__interface__)


@deploy
def __init__(federation_: address):
    assert federation_.is_contract, "referee: no federation"
    FEDERATION = federation.__interface__(federation_)


# --- findings --------------------------------------------------------------------------------


@internal
@pure
def _fraud(round: uint256, case: uint256, offence: bytes32) -> Verdict:
    return Verdict(tag=FRAUD, round=round, case=case, offence=offence)


@internal
@pure
def _answer(case: uint256) -> Verdict:
    return Verdict(tag=ANSWER, round=0, case=case, offence=empty(bytes32))


# --- what the chain holds --------------------------------------------------------------------


@internal
@view
def _case(id: uint256, kind: uint256) -> Case:
    """
    @dev An examiner asks the book it is called from; anyone else who calls learns nothing new.
    """
    found: Case = staticcall CaseBook(msg.sender).case_of(id)
    assert found.kind == kind, "dispute: other kind of case"
    return found


@internal
@view
def _sealed(round: uint256) -> rounds.Sealing:
    sealing: rounds.Sealing = staticcall FEDERATION.sealing(round)
    assert sealing.sealed_at > 0, "dispute: round not sealed"
    return sealing


@internal
@view
def _settled(round: uint256) -> rounds.Settlement:
    settlement: rounds.Settlement = staticcall FEDERATION.settlement(round)
    assert settlement.settled_at > 0, "dispute: round not settled"
    return settlement


@internal
@pure
def _require_rule(opening: rounds.Opening, rule: Rule):
    assert keccak256(abi_encode(rule)) == opening.rule_hash, "dispute: wrong rule"


@internal
@pure
def _has_known_rule(rule: Rule) -> bool:
    """
    @dev Whether the arithmetic of the announced rule is known here. Under any other kind, which may
         be a good one, nothing is proven about the aggregate, and it is read as no other (ADR 0132).
    """
    return (
        rule.version == 1
        and (rule.kind == FEDAVG or rule.kind == MEDIAN or rule.kind == TRIMMED_MEAN)
    )


# --- leaves ----------------------------------------------------------------------------------


@internal
@pure
def _leaf_hash(leaf: Leaf) -> bytes32:
    return keccak256(keccak256(abi_encode(leaf)))


@internal
@pure
def _require_leaf(root: bytes32, leaf: Leaf, proof: DynArray[bytes32, merkle.MAX_DEPTH]):
    found: bool = merkle._includes(root, self._leaf_hash(leaf), proof)
    assert found, "dispute: no such contributor"


@internal
@pure
def _require_score(root: bytes32, score: Score, proof: DynArray[bytes32, merkle.MAX_DEPTH]):
    hashed: bytes32 = keccak256(keccak256(abi_encode(score)))
    assert merkle._includes(root, hashed, proof), "dispute: no such score"


@internal
@pure
def _require_reward(
    root: bytes32,
    account: address,
    cumulative: uint256,
    proof: DynArray[bytes32, merkle.MAX_DEPTH],
):
    hashed: bytes32 = merkle._leaf(abi_encode(account, cumulative))
    assert merkle._includes(root, hashed, proof), "dispute: no such reward"


@internal
@pure
def _capped(rule: Rule, leaf: Leaf) -> uint256:
    return min(leaf.examples, rule.examples_cap)


@internal
@pure
def _payment(budget: uint256, score: uint256, total_score: uint256) -> uint256:
    """
    @dev A score too large for its type is an offence of its own; here it must not overflow.
    """
    if total_score == 0:
        return 0
    return unsafe_mul(budget, score) // total_score
