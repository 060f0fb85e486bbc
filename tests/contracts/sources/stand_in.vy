# pragma version 0.4.3
# pragma evm-version prague
"""
@notice Stands in for a federation and a referee, so that the deployed examiners judge golden vectors:
        the roots of a round are whatever was set. Besides, the modules' pure functions.
"""

import agreement
import evidence
import rounds
from referee import arithmetic
from referee import facts
from referee import inclusion


interface Digests:
    def update_digest(update: evidence.Update) -> bytes32: view


digests: address
_terms: agreement.Terms
_opening: rounds.Opening
_sealing: rounds.Sealing
_settlement: rounds.Settlement
_case: facts.Case


@external
def set_round(
    digests: address,
    rule_hash: bytes32,
    model_root: bytes32,
    contributors_root: bytes32,
    n: uint256,
    total_examples: uint256,
    new_model_root: bytes32,
    scores_root: bytes32,
    rewards_root: bytes32,
):
    self.digests = digests
    self._opening.rule_hash = rule_hash
    self._opening.model_root = model_root
    self._opening.member_count = 1
    self._sealing.contributors_root = contributors_root
    self._sealing.n = n
    self._sealing.total_examples = total_examples
    self._sealing.new_model_root = new_model_root
    self._sealing.sealed_at = 1
    self._settlement.scores_root = scores_root
    self._settlement.rewards_root = rewards_root
    self._settlement.settled_at = 1


@external
def set_case(kind: uint256, chunk: uint256):
    self._case.kind = kind
    self._case.chunk = chunk


@external
@view
def examine(examiner: address, data: Bytes[12288]) -> Bytes[256]:
    """
    @notice As the referee asks an examiner; reverts with its reason.
    """
    return raw_call(examiner, data, max_outsize=256, is_static_call=True)


# --- what examiners ask ----------------------------------------------------------------------


@external
@view
def terms() -> agreement.Terms:
    return self._terms


@external
@view
def opening(round: uint256) -> rounds.Opening:
    return self._opening


@external
@view
def sealing(round: uint256) -> rounds.Sealing:
    return self._sealing


@external
@view
def settlement(round: uint256) -> rounds.Settlement:
    return self._settlement


@external
@view
def case_of(id: uint256) -> facts.Case:
    return self._case


@external
@view
def member_index(account: address) -> uint256:
    return 1


@external
@view
def find_bond(account: address, round: uint256) -> uint256:
    return 10**18


@external
@view
def update_digest(update: evidence.Update) -> bytes32:
    return staticcall Digests(self.digests).update_digest(update)


# --- pure functions of the modules -----------------------------------------------------------


@external
@pure
def audit(
    leaf: Bytes[64], index: uint256, size: uint256, path: DynArray[bytes32, inclusion.MAX_PATH]
) -> bytes32:
    """
    @notice Where an audit path leads.
    """
    return inclusion._root(sha256(concat(0x00, leaf)), index, size, path)


@external
@pure
def payment(budget: uint256, score: uint256, total_score: uint256) -> uint256:
    return facts._payment(budget, score, total_score)


@external
@pure
def aggregate(
    rule: facts.Rule,
    lo: int256,
    hi: int256,
    given: DynArray[int256, 64],
    weights: DynArray[uint256, 64],
) -> int256:
    """
    @notice What one parameter's column comes to.
    """
    n: uint256 = len(given)
    entry: int256[5] = empty(int256[5])
    for i: uint256 in range(n, bound=64):
        entry = arithmetic._followed(rule, lo, hi, entry, given[i], weights[i])
    ranked: bool = rule.kind == facts.FEDAVG or arithmetic._ranked(rule, n, entry)
    assert ranked, "not ranked"
    return arithmetic._aggregate(rule, n, lo, hi, entry)


@external
@pure
def follows(rule: facts.Rule, base: int256, aggregate: int256, found: int256) -> bool:
    return arithmetic._follows(rule, base, aggregate, found)
