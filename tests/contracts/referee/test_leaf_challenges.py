"""Wrong records of contributors: rules, leaves, signatures, pairs."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from dispute_rounds import MEDIAN, TRIMMED_MEAN, Draft, forged, make_rule, sign
from dispute_world import (
    COORDINATOR,
    EXAMPLES,
    MEMBERS,
    MIN_STAKE,
    RULE,
    STRANGER,
    UPDATES,
    DisputeWorld,
)
from eth_abi import encode
from eth_account.signers.local import LocalAccount

from contracts.binding import calls
from coordinator.protocol.commitments.digests import contributor_leaf_hash
from coordinator.protocol.commitments.standard_tree import hash_pair
from coordinator.protocol.disputes import (
    DisputedRound,
    Evidence,
    FaultKind,
    find_faults,
    moves_against,
)
from coordinator.protocol.disputes import record_moves as build
from coordinator.protocol.keccak import keccak256
from coordinator.protocol.numbers.weights import apportion
from coordinator.protocol.round.chain_round import RoundStatus
from coordinator.protocol.signatures.eip712 import CURVE_ORDER
from coordinator.protocol.types import Address, ContributorLeaf, Rule, SigningDomain, Wei

TOTAL = 2**24


def only(round_: DisputedRound, kind: FaultKind) -> Evidence:
    """The first proof of a fault of a kind that must be found."""
    fault = next(f for f in find_faults(round_) if f.kind is kind)
    move = moves_against(round_, fault)[0]
    assert isinstance(move, Evidence)
    return move


# --- the rule ----------------------------------------------------------------------------------

INVALID = {
    "version": {"version": 2},
    "kind 0": {"kind": 0},
    "unknown kind, no parameters": {"kind": 4, "dimension": 0},
    "unknown kind, weighting": {"kind": 4, "weighting": 3},
    "unknown kind, too few": {"kind": 4, "min_contributors": 5},
    "fedavg with f": {"num_byzantine": 1},
    "weighting": {"weighting": 3},
    "median by examples": {"kind": MEDIAN, "weighting": 1},
    "cap 0": {"examples_cap": 0},
    "cap too large": {"examples_cap": 2**40},
    "no learning rate": {"server_lr_q16": 0},
    "momentum 1": {"server_momentum_q16": 1 << 16},
    "no parameters": {"dimension": 0},
    "too many parameters": {"dimension": 2**48 + 1},
    "empty chunks": {"chunk_values": 0},
    "huge chunks": {"chunk_values": 2**20 + 1},
    "scale": {"scale_bits": 31},
    "nobody": {"min_contributors": 0},
    "everybody": {"min_contributors": TOTAL + 1},
    "too few": {"min_contributors": 5},
    "f too large": {"kind": TRIMMED_MEAN, "num_byzantine": 2},
}
VALID = {
    "as it is": {},
    "exactly enough": {"min_contributors": 4},
    "f just held": {"kind": TRIMMED_MEAN, "num_byzantine": 1},
    "largest chunks": {"chunk_values": 2**20},
    "largest cap": {"examples_cap": 2**40 - 1},
    "most momentum": {"server_momentum_q16": (1 << 16) - 1},
    "norm bound": {"norm_bound_q": 2**64 - 1},
    "unknown kind": {"kind": 4},
    "unknown kind by examples": {"kind": 200, "weighting": 1},
    "unknown kind, bound of its own": {"kind": 255, "num_byzantine": 2},
}


def sealed_with(court: DisputeWorld, rule: Rule) -> DisputedRound:
    """A round under a rule, valid or not; what was aggregated does not matter."""
    draft = court.draft()
    court.open(replace(draft, rule=rule))
    round_ = draft.disputed()
    court.seal(round_)
    return replace(round_, rule=rule)


@pytest.mark.parametrize("name", INVALID)
def test_rules_that_may_not_be_announced(court: DisputeWorld, name: str) -> None:
    round_ = sealed_with(court, make_rule(**INVALID[name]))
    (fault,) = find_faults(round_)
    assert fault.kind is FaultKind.RULE_INVALID
    assert court.convict(only(round_, FaultKind.RULE_INVALID)) == "invalid rule"


@pytest.mark.parametrize("name", VALID)
def test_rules_that_may(court: DisputeWorld, name: str) -> None:
    round_ = sealed_with(court, make_rule(**VALID[name]))
    assert not [f for f in find_faults(round_) if f.kind is FaultKind.RULE_INVALID]
    assert court.refused(build.challenge_rule(round_)) == "dispute: rule is right"
    other = replace(round_, rule=make_rule(scale_bits=3))
    assert court.refused(build.challenge_rule(other)) == "dispute: wrong rule"


def test_an_open_round_is_not_short_of_contributors_yet(court: DisputeWorld) -> None:
    draft = court.draft()
    court.open(draft)
    assert court.refused(build.challenge_rule(draft.disputed())) == "dispute: round not sealed"


# --- single leaves -----------------------------------------------------------------------------


def change(at: int, **changes: object) -> Callable[[Draft], None]:
    return lambda draft: draft.change_leaf(at, **changes)


LEAVES: dict[str, tuple[Callable[[Draft], None], str]] = {
    "another round": (change(1, round_id=2), "leaf: wrong round"),
    "index n": (change(3, index=4), "leaf: index out of range"),
    "index far out": (change(3, index=2**32 - 1), "leaf: index out of range"),
    "a stranger": (change(0, contributor=Address("0x" + "00" * 19 + "07")), "leaf: not a member"),
    "nobody": (change(0, contributor=Address("0x" + "00" * 20)), "leaf: not a member"),
    "the coordinator": (
        change(0, contributor=Address(COORDINATOR.address), stake_wei=1_000_000),
        "leaf: not a member",
    ),
    "a larger stake": (change(2, stake_wei=MIN_STAKE + 500), "leaf: wrong stake"),
    "no stake": (change(2, stake_wei=0), "leaf: wrong stake"),
    "an enormous stake": (change(2, stake_wei=2**256 - 1), "leaf: wrong stake"),
    "no weight": (change(1, weight=0), "leaf: wrong weight"),
    "one weight more": (change(1, weight=TOTAL // 8 + 1), "leaf: wrong weight"),
    "one weight less": (change(1, weight=TOTAL // 8 - 1), "leaf: wrong weight"),
    "all weight": (change(1, weight=2**32 - 1), "leaf: wrong weight"),
    "other examples": (change(1, examples=21), "leaf: wrong weight"),
}


@pytest.mark.parametrize("name", LEAVES)
@pytest.mark.parametrize("settled", [False, True])
def test_wrong_leaves_are_proven(court: DisputeWorld, name: str, settled: bool) -> None:
    tamper, offence = LEAVES[name]
    draft = court.draft()
    tamper(draft)
    round_ = court.commit(draft, settled=settled)
    assert court.convict(only(round_, FaultKind.LEAF)) == offence
    assert court.federation.status(1) == RoundStatus.VOID


@pytest.mark.parametrize("rule", [RULE, make_rule(weighting=2), make_rule(kind=MEDIAN)])
def test_right_leaves_are_not(court: DisputeWorld, rule: Rule) -> None:
    draft = court.draft(examples=[7, 11, 13, 500], rule=rule)
    round_ = court.commit(draft)
    assert find_faults(round_) == []
    for at in range(4):
        assert court.refused(build.challenge_leaf(round_, at)) == "dispute: leaf is right"


def test_weights_rounded_up_and_down_are_both_right_for_a_leaf_alone(court: DisputeWorld) -> None:
    """7 of 131 is 896,492.5: 896,492 and 896,493 pass, their neighbours do not."""
    for weight, right in [(896_491, 0), (896_492, 1), (896_493, 1), (896_494, 0)]:
        snapshot = court.node.snapshot()
        draft = court.draft(examples=[7, 11, 13, 500])
        draft.change_leaf(0, weight=weight)
        round_ = court.commit(draft)
        if right:
            assert court.refused(build.challenge_leaf(round_, 0)) == "dispute: leaf is right"
        else:
            assert court.convict(build.challenge_leaf(round_, 0)) == "leaf: wrong weight"
        court.node.revert(snapshot)
        court.forget()


def test_no_examples_at_all_give_no_weights(court: DisputeWorld) -> None:
    """Shares of zero have no quotas: whatever the weights, every leaf is wrong."""
    draft = court.draft()
    for at in range(4):
        draft.change_leaf(at, examples=0, weight=TOTAL // 4)
    draft.total_examples = 0
    round_ = court.commit(draft)
    assert court.convict(build.challenge_leaf(round_, 2)) == "leaf: wrong weight"


def test_examples_too_large_for_their_type(court: DisputeWorld) -> None:
    """A leaf that no honest encoder writes: its hash is of a full word."""
    draft = court.draft()
    leaf = draft.entries[0].leaf
    words = [getattr(leaf, name) for name in ContributorLeaf.__dataclass_fields__]
    words[4] = 2**64
    types = ["uint256", "uint256", "address", "bytes32", "uint256", "uint256", "uint256", "bytes32"]
    hashed = keccak256(keccak256(encode(types, words)))
    round_ = draft.disputed()
    committed = replace(round_.committed, contributors_root=hashed, n=1, total_examples=100)
    court.open(draft)
    court.seal(replace(round_, committed=committed))
    evidence = Evidence("challenge_leaf", (1, build.rule_words(RULE), tuple(words), ()))
    assert court.convict(evidence) == "leaf: examples out of range"


def test_a_bond_cut_below_the_minimum(court: DisputeWorld) -> None:
    """Slashed for equivocating, a contributor stays a member with too little bonded."""
    cheat = MEMBERS[0]
    draft = court.draft(number=2)
    court.open(court.draft(number=1))
    first, second = (
        sign(cheat, court.federation.domain, 1, bytes([i]) * 32, bytes([i]) * 32, 1) for i in (1, 2)
    )
    court.send(MEMBERS[1], calls.slash_equivocation(first, second))
    court.send(COORDINATOR, calls.void_round(1, "equivocation"))
    bond = court.federation.account(Address(cheat.address)).bond_wei
    assert bond == 500
    draft.bonds[Address(cheat.address)] = Wei(bond)
    draft.change_leaf(0, stake_wei=bond)
    draft.total_stake -= 500
    round_ = court.commit(draft)
    assert court.convict(only(round_, FaultKind.LEAF)) == "leaf: stake below minimum"


def test_whoever_joins_after_the_opening_took_no_part(court: DisputeWorld) -> None:
    draft = court.draft()
    court.open(draft)
    court.send(STRANGER, calls.join(Wei(MIN_STAKE)))
    draft.change_leaf(0, contributor=Address(STRANGER.address), stake_wei=MIN_STAKE)
    round_ = draft.disputed()
    court.seal(round_)
    assert court.convict(only(round_, FaultKind.LEAF)) == "leaf: not a member"


def test_bonds_are_those_at_the_opening(court: DisputeWorld) -> None:
    draft = court.draft()
    court.open(draft)
    court.send(MEMBERS[0], calls.leave())
    court.send(MEMBERS[1], calls.join(Wei(MIN_STAKE)))
    round_ = draft.disputed()
    court.seal(round_)
    for at in range(4):
        assert court.refused(build.challenge_leaf(round_, at)) == "dispute: leaf is right"


def test_leaf_proofs_must_lead_to_this_round(court: DisputeWorld) -> None:
    first = court.draft()
    one = court.commit(first)
    second = court.draft(number=2, parent=first)
    second.change_leaf(1, stake_wei=5)
    two = court.commit(second)
    wrong = only(two, FaultKind.LEAF)
    _, words, leaf, proof = wrong.arguments
    for arguments in (
        (1, words, leaf, proof),
        (3, words, leaf, proof),
        (2, words, leaf, proof[:-1]),
        (2, words, leaf, (*proof, bytes(32))),
        (2, words, leaf, ()),
        (2, words, leaf, proof[::-1]),
        (2, words, (*leaf[:6], leaf[6] + 1, leaf[7]), proof),
    ):
        refused = court.refused(replace(wrong, arguments=arguments))
        assert refused in ("dispute: no such contributor", "dispute: wrong rule")
    inner = Evidence("challenge_leaf", (2, words, leaf, [bytes(32)] * 33))
    assert court.refused(inner) == ""
    assert court.convict(wrong) == "leaf: wrong stake"
    assert len(one.known_entries) == 4


# --- signatures --------------------------------------------------------------------------------


def signed_by(draft: Draft, signer: LocalAccount, at: int = 1, **other: object) -> bytes:
    leaf = draft.entries[at].leaf
    fields = {
        "domain": draft.domain,
        "number": draft.number,
        "base": draft.disputed().committed.model_root,
        "update": leaf.update_root,
        "count": leaf.examples,
        **other,
    }
    return sign(signer, **fields).signature  # type: ignore[arg-type]


def high_s(signature: bytes) -> bytes:
    s = int.from_bytes(signature[32:64], "big")
    flipped = (CURVE_ORDER - s).to_bytes(32, "big")
    return signature[:32] + flipped + bytes([55 - signature[64]])


FORGERIES: dict[str, Callable[[Draft], bytes]] = {
    "somebody else's": lambda d: signed_by(d, MEMBERS[0]),
    "of another round": lambda d: signed_by(d, MEMBERS[1], number=2),
    "of another model": lambda d: signed_by(d, MEMBERS[1], base=bytes(32)),
    "of another update": lambda d: signed_by(d, MEMBERS[1], update=bytes(32)),
    "of fewer examples": lambda d: signed_by(d, MEMBERS[1], count=19),
    "for another contract": lambda d: signed_by(
        d, MEMBERS[1], domain=SigningDomain(1337, Address("0x" + "22" * 20))
    ),
    "for another chain": lambda d: signed_by(
        d, MEMBERS[1], domain=SigningDomain(1, d.domain.verifying_contract)
    ),
    "with high s": lambda d: high_s(d.entries[1].signature),
    "with v of 0": lambda d: d.entries[1].signature[:64] + bytes([d.entries[1].signature[64] - 27]),
    "with v of 29": lambda d: d.entries[1].signature[:64] + b"\x1d",
    "zeros": lambda d: bytes(65),
    "r of zero": lambda d: bytes(32) + d.entries[1].signature[32:],
    "r out of range": lambda d: b"\xff" * 32 + d.entries[1].signature[32:],
    "s of zero": lambda d: d.entries[1].signature[:32] + bytes(32) + b"\x1b",
}


@pytest.mark.parametrize("name", FORGERIES)
def test_invalid_signatures_are_proven(court: DisputeWorld, name: str) -> None:
    draft = court.draft()
    draft.entries[1] = forged(draft.entries[1], FORGERIES[name](draft))
    round_ = court.commit(draft)
    assert court.convict(only(round_, FaultKind.SIGNATURE)) == "leaf: invalid signature"


def test_valid_signatures_are_not(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    for at in range(4):
        right = build.challenge_signature(round_, at)
        assert court.refused(right) == "dispute: signature is right"
        # The leaf fixes what was signed: nobody can make a valid signature look invalid.
        *rest, metrics, signature = right.arguments
        for other in (
            (bytes(32), signature),
            (metrics, high_s(signature)),
            (metrics, signature[:64]),
            (metrics, signature + b"\0"),
            (metrics, b""),
        ):
            evidence = replace(right, arguments=(*rest, *other))
            assert court.refused(evidence) == "dispute: other signature"


@pytest.mark.parametrize("length", [0, 64, 66, 256])
def test_signatures_of_another_length_are_invalid(court: DisputeWorld, length: int) -> None:
    """The leaf's hash binds the length too; only the coordinator could have written that."""
    draft = court.draft()
    signature = (draft.entries[1].signature * 4)[:length]
    metrics = draft.disputed().metrics_hash(1)
    draft.change_leaf(1, signature_hash=keccak256(metrics + signature))
    draft.entries[1] = replace(draft.entries[1], signature=signature)
    round_ = court.commit(draft)
    assert court.convict(only(round_, FaultKind.SIGNATURE)) == "leaf: invalid signature"


def test_a_leaf_of_the_zero_address_is_not_signed_by_garbage(court: DisputeWorld) -> None:
    draft = court.draft()
    draft.change_leaf(1, contributor=Address("0x" + "00" * 20))
    draft.entries[1] = forged(draft.entries[1], bytes(64) + b"\x1b")
    round_ = court.commit(draft)
    assert court.convict(build.challenge_signature(round_, 1)) == "leaf: invalid signature"


# --- pairs -------------------------------------------------------------------------------------


def same_index(draft: Draft) -> None:
    draft.change_leaf(2, index=1)


def counted_twice(draft: Draft) -> None:
    """One contributor's update under two indices, its weight shared out so that sums hold."""
    twice = replace(draft.entries[1].leaf, index=2)
    draft.entries[2] = replace(draft.entries[1], leaf=twice)
    draft.updates[2] = draft.updates[1]


def against_order(draft: Draft) -> None:
    draft.entries[1], draft.entries[2] = draft.entries[2], draft.entries[1]
    draft.change_leaf(1, index=1)
    draft.change_leaf(2, index=2)


PAIRS: dict[str, tuple[Callable[[Draft], None], str]] = {
    "same index": (same_index, "leaves: same index"),
    "counted twice": (counted_twice, "leaves: same contributor"),
    "against the order": (against_order, "leaves: wrong order"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_contradicting_leaves_are_proven(court: DisputeWorld, name: str) -> None:
    tamper, offence = PAIRS[name]
    draft = court.draft()
    tamper(draft)
    round_ = court.commit(draft)
    assert court.convict(only(round_, FaultKind.PAIR)) == offence


def test_right_pairs_are_not(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft(examples=[7, 11, 13, 500]))
    for first in range(4):
        for second in range(4):
            expected = "dispute: same leaf" if first == second else "dispute: leaves are right"
            assert court.refused(build.challenge_pair(round_, first, second)) == expected


@pytest.mark.parametrize("examples", [[7, 11, 13, 100], [1, 1, 1, 100], [33, 33, 33, 33]])
def test_the_wrong_one_rounded_up_is_proven(court: DisputeWorld, examples: list[int]) -> None:
    """Every leaf is floor or ceiling and the sum holds; only the order of remainders is broken."""
    draft = court.draft(examples=examples, rule=make_rule())
    names = [entry.leaf.contributor for entry in draft.entries]
    quotas = [divmod(count * TOTAL, sum(examples)) for count in examples]
    weights = apportion(examples, names)
    up = [i for i in range(4) if weights[i] > quotas[i][0]]
    down = [i for i in range(4) if weights[i] == quotas[i][0] and quotas[i][1] > 0]
    if not up:
        assert court.commit(draft).committed.n == 4
        return
    for raised in down:
        for lowered in up:
            snapshot = court.node.snapshot()
            cheat = court.draft(examples=examples)
            cheat.change_leaf(lowered, weight=weights[lowered] - 1)
            cheat.change_leaf(raised, weight=weights[raised] + 1)
            round_ = court.commit(cheat)
            assert court.refused(build.challenge_leaf(round_, raised)) == "dispute: leaf is right"
            for pair in ((raised, lowered), (lowered, raised)):
                assert court.referee.refusal(build.challenge_pair(round_, *pair)) == ""
            assert court.convict(only(round_, FaultKind.PAIR)) == "leaves: wrong apportionment"
            court.node.revert(snapshot)
            court.forget()


def test_equal_remainders_go_to_the_smaller_address(court: DisputeWorld) -> None:
    rule = make_rule(weighting=2)
    three = court.draft(UPDATES[:3], EXAMPLES[:3], rule=rule)
    assert [entry.leaf.weight for entry in three.entries] == [5592406, 5592405, 5592405]
    snapshot = court.node.snapshot()
    right = court.commit(three)
    assert court.refused(build.challenge_pair(right, 0, 1)) == "dispute: leaves are right"
    court.node.revert(snapshot)
    court.forget()
    cheat = court.draft(UPDATES[:3], EXAMPLES[:3], rule=rule)
    cheat.change_leaf(0, weight=5592405)
    cheat.change_leaf(2, weight=5592406)
    assert court.convict(only(court.commit(cheat), FaultKind.PAIR)) == "leaves: wrong apportionment"


def test_pairs_must_both_be_there(court: DisputeWorld) -> None:
    draft = court.draft()
    counted_twice(draft)
    round_ = court.commit(draft)
    right = only(round_, FaultKind.PAIR)
    number, words, first, first_proof, second, second_proof = right.arguments
    for arguments in (
        (number, words, first, second_proof, second, first_proof),
        (number, words, first, first_proof, (*second[:1], 3, *second[2:]), second_proof),
        (number, words, first, first_proof, second, second_proof[:-1]),
    ):
        evidence = replace(right, arguments=arguments)
        assert court.refused(evidence) == "dispute: no such contributor"
    twice = replace(right, arguments=(number, words, first, first_proof, first, first_proof))
    assert court.refused(twice) == "dispute: same leaf"
    assert court.convict(right) == "leaves: same contributor"


# --- a tree of another shape -------------------------------------------------------------------


def test_a_tree_of_another_shape_hides_nothing(court: DisputeWorld) -> None:
    """Leaves in a tree of the coordinator's own shape: each is proven by its own path."""
    draft = court.draft()
    draft.change_leaf(3, stake_wei=1)
    round_ = draft.disputed()
    a, b, c, d = (contributor_leaf_hash(entry.leaf) for entry in draft.entries)
    ab = hash_pair(a, b)
    abc = hash_pair(ab, c)
    proofs = {0: (b, c, d), 1: (a, c, d), 2: (ab, d), 3: (abc,)}
    committed = replace(round_.committed, contributors_root=hash_pair(abc, d))
    odd = replace(round_, committed=committed, leaf_proofs=proofs)
    court.open(draft)
    court.seal(odd)
    assert find_faults(replace(odd, leaf_proofs=None))[0].kind is FaultKind.CONTRIBUTOR_WITHHELD
    assert court.convict(only(odd, FaultKind.LEAF)) == "leaf: wrong stake"
