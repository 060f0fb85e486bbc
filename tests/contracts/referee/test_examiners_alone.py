"""What no federation of ours would hold: the examiners before a stand-in, on the embedded chain.

The contracts read rules and leaves as full words, so a value outside its narrower type must be
judged like any other, not fail to decode.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from eth_abi import encode
from eth_utils import keccak
from federation_world import STRANGER, World, helper_artifact

from contracts.binding.artifacts import load_artifact
from contracts.binding.calls import Call
from coordinator.protocol.errors import TransactionRevertedError

EMPTY = bytes(32)
RULE = {
    "version": 1,
    "kind": 1,
    "weighting": 1,
    "num_byzantine": 0,
    "examples_cap": 100,
    "server_lr_q16": 1 << 16,
    "server_momentum_q16": 0,
    "manifest_hash": EMPTY,
    "dimension": 4,
    "chunk_values": 2,
    "scale_bits": 20,
    "min_contributors": 1,
    "norm_bound_q": 0,
    "scoring_hash": EMPTY,
}
RULE_TYPES = ["bytes32" if value == EMPTY else "uint256" for value in RULE.values()]
LEAF_TYPES = ["uint256", "uint256", "address", "bytes32", *["uint256"] * 3, "bytes32"]
ALICE, BOB = "0x" + "11" * 20, "0x" + "22" * 20


def rule(**changes: int) -> tuple[Any, ...]:
    return tuple({**RULE, **changes}.values())


def leaf(**changes: Any) -> tuple[Any, ...]:
    fields: dict[str, Any] = {
        "round": 1,
        "index": 0,
        "contributor": ALICE,
        "update_root": EMPTY,
        "examples": 1,
        "weight": 2**24,
        "stake": 10**18,
        "signature_hash": EMPTY,
    }
    return tuple({**fields, **changes}.values())


def leaf_hash(words: tuple[Any, ...]) -> bytes:
    return keccak(keccak(encode(LEAF_TYPES, words)))


class Court:
    """The stand-in and the examiners that ask it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.stand_in = world.deploy("stand_in")
        self.records, self.aggregates = (
            self.deploy(name) for name in ("record_examiner", "aggregate_examiner")
        )

    def deploy(self, name: str) -> str:
        code = load_artifact(name).creation_code((self.stand_in,))
        transactor = self.world.federation.transactor
        call = Call("deploy", code, 0, 6_000_000, f"deploy {name}")
        created = transactor.send(transactor.prepare(STRANGER, call, None)).contract_address
        assert created
        return created

    def hold(self, words: tuple[Any, ...], **roots: Any) -> None:
        """Let the round have this rule and these roots."""
        fields = {
            "digests": self.stand_in,
            "rule_hash": keccak(encode(RULE_TYPES, words)),
            "model_root": EMPTY,
            "contributors_root": EMPTY,
            "n": 5,
            "total_examples": 1,
            "new_model_root": EMPTY,
            "scores_root": EMPTY,
            "rewards_root": EMPTY,
        }
        arguments = {**fields, **roots}.values()
        self.world.invoke(STRANGER, "stand_in", self.stand_in, "set_round", *arguments)

    def judged(self, examiner: str, function: str, *arguments: Any) -> str:
        """The reason for refusing; empty for a verdict."""
        name = "record_examiner" if examiner == self.records else "aggregate_examiner"
        data = load_artifact(name).functions[function].encode_call(arguments)
        abi = helper_artifact("stand_in").functions["examine"]
        try:
            self.world.federation.rpc.call(self.stand_in, abi.encode_call((examiner, data)))
        except TransactionRevertedError as reverted:
            return reverted.reason
        return ""


@pytest.fixture(scope="module")
def _court() -> Iterator[Court]:
    world = World.create()
    yield Court(world)
    world.node.close()


@pytest.fixture
def court(_court: Court) -> Iterator[Court]:
    snapshot = _court.world.node.snapshot()
    _court.world.forget()
    yield _court
    _court.world.node.revert(snapshot)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": 2, "weighting": 2, "num_byzantine": 2**32},
        {"examples_cap": 2**40},
        {"server_lr_q16": 2**32},
        {"server_momentum_q16": 2**16},
        {"dimension": 2**48 + 1},
        {"chunk_values": 2**255},
        {"norm_bound_q": 2**64},
        {"min_contributors": 2**24 + 1},
        {"version": 2**16 + 1},
    ],
)
def test_a_rule_outside_its_types_is_invalid(court: Court, changes: dict[str, int]) -> None:
    court.hold(rule(**changes), n=2**40)
    assert court.judged(court.records, "challenge_rule", 1, rule(**changes)) == ""
    court.hold(rule(), n=2**40)
    found = court.judged(court.records, "challenge_rule", 1, rule())
    assert found == "dispute: rule is right"


@pytest.mark.parametrize("kind", [2**8 + 1, 2**255, 2**256 - 1])
def test_a_kind_of_any_size_is_no_offence(court: Court, kind: int) -> None:
    """A rule's kind may be the digest of its definition (ADR 0131)."""
    court.hold(rule(kind=kind), n=2**40)
    found = court.judged(court.records, "challenge_rule", 1, rule(kind=kind))
    assert found == "dispute: rule is right"


def test_weights_by_no_known_weighting_are_not_judged(court: Court) -> None:
    words = rule(weighting=3)
    court.hold(words, contributors_root=leaf_hash(leaf()))
    found = court.judged(court.records, "challenge_leaf", 1, words, leaf(), [])
    assert found == "dispute: rule not provable"


def test_a_pair_has_no_apportionment_where_nothing_is_weighed(court: Court) -> None:
    first, second = leaf(examples=0), leaf(index=1, contributor=BOB, examples=0)
    one, two = leaf_hash(first), leaf_hash(second)
    root = keccak(min(one, two) + max(one, two))
    court.hold(rule(), contributors_root=root, total_examples=0)
    pair = (1, rule(), first, [two], second, [one])
    assert court.judged(court.records, "challenge_pair", *pair) == "dispute: leaves are right"


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"kind": 0},
        {"kind": 4},
        {"server_momentum_q16": 1},
        {"dimension": 2**48 + 1},
        {"chunk_values": 0},
        {"chunk_values": 1025},
    ],
)
def test_rules_no_contract_can_follow(court: Court, changes: dict[str, int]) -> None:
    court.hold(rule(**changes))
    padding = (1, rule(**changes), bytes(8), [])
    found = court.judged(court.aggregates, "challenge_padding", *padding)
    assert found == "dispute: rule not provable"
