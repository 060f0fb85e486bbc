from dataclasses import replace

import pytest
from eth_account import Account
from federation_world import (
    CONTRIBUTORS,
    COORDINATOR,
    MIN_STAKE,
    SLASH_BPS,
    STRANGER,
    TERMS,
    UNBONDING,
    World,
    digest,
)
from histories import examples as usual
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.binding import calls
from contracts.binding.events import Collected, Slashed
from coordinator.protocol.errors import TransactionRevertedError
from coordinator.protocol.signatures.eip712 import CURVE_ORDER, domain_separator, statement_digest
from coordinator.protocol.types import Signed, SigningDomain, UpdateMessage

ALICE, BOB = CONTRIBUTORS[:2]
OFFENCE = b"equivocation".ljust(32, b"\0")
UINT64 = st.integers(0, 2**64 - 1)
BYTES32 = st.binary(min_size=32, max_size=32)


def slash(first: Signed[UpdateMessage], second: Signed[UpdateMessage]) -> calls.Call:
    return calls.slash_equivocation(first, second)


def two_faced(
    world: World, **changes: object
) -> tuple[Signed[UpdateMessage], Signed[UpdateMessage]]:
    first = world.signed(ALICE, 1, digest(50))
    return first, world.signed(ALICE, 1, digest(51), **changes)


@pytest.fixture
def opened(world: World) -> World:
    world.open(1)
    return world


def test_two_different_updates_cost_a_share_of_the_stake(opened: World) -> None:
    world = opened
    held, burned = world.held, world.burned
    event = world.event(BOB, slash(*two_faced(world)))
    # 30 % of 1,000 wei: 150 for whoever proved it, 150 burned.
    assert event == Slashed(event.place, ALICE.address, 1, BOB.address, OFFENCE, 300, 150, 700, 0)
    assert world.federation.account(ALICE.address).bond_wei == 700
    assert world.federation.account(BOB.address).credit_wei == 150
    assert (world.held, world.burned) == (held - 150, burned + 150)
    assert world.federation.is_slashed(1, ALICE.address)
    assert not world.federation.is_slashed(1, BOB.address)


def test_the_bounty_is_collected_once(opened: World) -> None:
    world = opened
    assert world.reason(BOB, calls.collect()) == "collect: nothing due"
    world.send(BOB, slash(*two_faced(world)))
    before = world.balance(BOB.address)
    receipt = world.send(BOB, calls.collect())
    (event,) = receipt.events
    assert event == Collected(event.place, BOB.address, 150)
    assert world.balance(BOB.address) == before + 150 - receipt.fee_wei
    assert world.reason(BOB, calls.collect()) == "collect: nothing due"


def test_an_offence_is_punished_once_a_round(opened: World) -> None:
    world = opened
    world.send(BOB, slash(*two_faced(world)))
    assert world.reason(BOB, slash(*two_faced(world))) == "evidence: already slashed"
    third = world.signed(ALICE, 1, digest(52))
    assert world.reason(BOB, slash(third, two_faced(world)[0])) == "evidence: already slashed"
    world.seal(1)
    world.open(2)
    again = world.signed(ALICE, 2, digest(50)), world.signed(ALICE, 2, digest(51))
    assert world.event(BOB, slash(*again)).amount == 210  # 30 % of what is left


@pytest.mark.parametrize(
    "changes", [{"base_model": digest(7)}, {"examples": 99}, {"metrics_hash": digest(7)}]
)
def test_whatever_else_differs_two_updates_are_equivocation(
    opened: World, changes: dict[str, object]
) -> None:
    assert opened.event(BOB, slash(*two_faced(opened, **changes))).amount == 300


@pytest.mark.parametrize(
    "changes", [{}, {"base_model": digest(7)}, {"examples": 99}, {"metrics_hash": digest(7)}]
)
def test_the_same_update_signed_again_is_no_offence(
    opened: World, changes: dict[str, object]
) -> None:
    first = opened.signed(ALICE, 1, digest(50))
    second = opened.signed(ALICE, 1, digest(50), **changes)
    assert opened.reason(BOB, slash(first, second)) == "evidence: same update"


def test_updates_of_two_rounds_are_no_offence(opened: World) -> None:
    opened.seal(1)
    opened.open(2)
    first, second = opened.signed(ALICE, 1, digest(50)), opened.signed(ALICE, 2, digest(51))
    assert opened.reason(BOB, slash(first, second)) == "evidence: different rounds"


@pytest.mark.parametrize("number", [0, 2, 2**64 - 1])
def test_evidence_is_about_a_round_that_opened(opened: World, number: int) -> None:
    pair = [opened.signed(ALICE, number, digest(50 + i)) for i in range(2)]
    assert opened.reason(BOB, slash(*pair)) == "evidence: no such round"


def test_evidence_against_a_void_round_still_counts(opened: World) -> None:
    opened.send(COORDINATOR, calls.void_round(1, "no quorum"))
    assert opened.event(BOB, slash(*two_faced(opened))).amount == 300


def test_only_the_signer_is_slashed(opened: World) -> None:
    first, second = two_faced(opened)
    for pair in (
        (replace(first, signer=BOB.address), second),
        (replace(first, signer=BOB.address), opened.signed(BOB, 1, digest(51))),
        (first, replace(opened.signed(BOB, 1, digest(51)), signer=ALICE.address)),
    ):
        assert opened.reason(STRANGER, slash(*pair)) == "evidence: wrong signer"
    for who in (STRANGER, COORDINATOR):
        pair = opened.signed(who, 1, digest(50)), opened.signed(who, 1, digest(51))
        assert opened.reason(BOB, slash(*pair)) == "evidence: not a member"
    nobody = replace(first, signer="0x" + "00" * 20)
    assert opened.reason(BOB, slash(nobody, second)) == "evidence: not a member"


def test_a_changed_message_is_not_what_was_signed(opened: World) -> None:
    first, second = two_faced(opened)
    for changes in ({"examples": 13}, {"update": digest(60)}, {"base_model": digest(60)}):
        forged = replace(second, statement=replace(second.statement, **changes))
        assert opened.reason(BOB, slash(first, forged)) == "evidence: wrong signer"


def mangled(signed: Signed[UpdateMessage], **parts: int) -> Signed[UpdateMessage]:
    r, s, v = signed.signature[:32], signed.signature[32:64], signed.signature[64]
    r = parts.get("r", int.from_bytes(r, "big")).to_bytes(32, "big")
    s = parts.get("s", int.from_bytes(s, "big")).to_bytes(32, "big")
    return replace(signed, signature=r + s + bytes([parts.get("v", v)]))


def test_high_s_twins_are_refused(opened: World) -> None:
    first, second = two_faced(opened)
    s = int.from_bytes(second.signature[32:64], "big")
    twin = mangled(second, s=CURVE_ORDER - s, v=55 - second.signature[64])
    # It recovers to the same address: only the rule on s keeps it out.
    assert opened.reason(BOB, slash(first, twin)) == "evidence: high s"
    assert opened.reason(BOB, slash(twin, first)) == "evidence: high s"


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"v": 0}, "evidence: bad signature"),
        ({"v": 1}, "evidence: bad signature"),
        ({"v": 29}, "evidence: bad signature"),
        ({"v": 255}, "evidence: bad signature"),
        ({"r": 0}, "evidence: wrong signer"),
        ({"s": 0}, "evidence: wrong signer"),
        ({"r": CURVE_ORDER}, "evidence: wrong signer"),
        ({"r": 2**256 - 1}, "evidence: wrong signer"),
        ({"s": 2**256 - 1}, "evidence: high s"),
        ({"s": CURVE_ORDER // 2 + 1}, "evidence: high s"),
        ({"s": CURVE_ORDER // 2}, "evidence: wrong signer"),
    ],
)
def test_garbage_signatures_are_refused(opened: World, parts: dict[str, int], reason: str) -> None:
    first, second = two_faced(opened)
    assert opened.reason(BOB, slash(first, mangled(second, **parts))) == reason


@pytest.mark.parametrize("length", [0, 32, 64])
def test_short_signatures_are_refused(opened: World, length: int) -> None:
    first, second = two_faced(opened)
    short = replace(second, signature=second.signature[:length])
    assert opened.reason(BOB, slash(first, short)) == "evidence: bad signature"


def test_long_signatures_do_not_decode(opened: World) -> None:
    first, second = two_faced(opened)
    with pytest.raises(TransactionRevertedError):
        opened.send(BOB, slash(first, replace(second, signature=second.signature + b"\0")))


def test_signatures_for_another_contract_or_chain_do_not_count(opened: World) -> None:
    here = opened.federation.domain
    for domain in (
        SigningDomain(here.chain_id + 1, here.verifying_contract),
        SigningDomain(here.chain_id, STRANGER.address),
    ):
        pair = two_faced(opened, domain=domain)
        assert opened.reason(BOB, slash(*pair)) == "evidence: wrong signer"


def test_unbonding_funds_are_slashed_until_withdrawn(opened: World) -> None:
    """Invariant 14."""
    world = opened
    world.send(ALICE, calls.leave())
    matures_at = world.now + UNBONDING
    event = world.event(BOB, slash(*two_faced(world)), at=matures_at)
    assert (event.amount, event.bond, event.unbonding) == (300, 0, 700)
    assert world.event(ALICE, calls.withdraw()).amount == 700


def test_the_bond_is_cut_before_unbonding_funds(opened: World) -> None:
    world = opened
    world.send(ALICE, calls.leave())
    world.send(ALICE, calls.join(MIN_STAKE))
    world.send(ALICE, calls.join(500))
    event = world.event(BOB, slash(*two_faced(world)))
    assert (event.amount, event.bond, event.unbonding) == (750, 750, 1_000)


def test_a_cut_larger_than_the_bond_reaches_into_unbonding_funds() -> None:
    world = World.create(replace(TERMS, contributor_slash_bps=9_000)).populate()
    world.open(1)
    world.send(ALICE, calls.leave())
    world.send(ALICE, calls.join(MIN_STAKE))
    event = world.event(BOB, slash(*two_faced(world)))
    assert (event.amount, event.bond, event.unbonding) == (1_800, 0, 200)
    assert world.federation.account(ALICE.address).unbonding_wei == 200


def test_evidence_is_kept_while_there_is_nothing_to_take(opened: World) -> None:
    world = opened
    world.send(ALICE, calls.leave())
    world.send(ALICE, calls.withdraw(), at=world.now + UNBONDING)
    evidence = slash(*two_faced(world))
    assert world.reason(BOB, evidence) == "evidence: nothing at stake"
    world.send(ALICE, calls.join(MIN_STAKE))
    assert world.event(BOB, evidence).amount == 300


def test_odd_wei_are_burned_not_paid() -> None:
    world = World.create(replace(TERMS, contributor_slash_bps=10_000, min_stake_wei=1))
    world.send(COORDINATOR, calls.bond_coordinator(TERMS.min_coordinator_bond_wei))
    world.send(ALICE, calls.join(7))
    world.open(1)
    event = world.event(BOB, slash(*two_faced(world)))
    assert (event.amount, event.bounty, world.burned) == (7, 3, 4)


def test_a_slash_too_small_to_halve_pays_no_bounty() -> None:
    world = World.create(replace(TERMS, min_stake_wei=1))
    world.send(COORDINATOR, calls.bond_coordinator(TERMS.min_coordinator_bond_wei))
    world.send(ALICE, calls.join(4))  # 30 % is 1 wei
    world.open(1)
    event = world.event(BOB, slash(*two_faced(world)))
    assert (event.amount, event.bounty, event.bond, world.burned) == (1, 0, 3, 1)
    assert world.reason(BOB, calls.collect()) == "collect: nothing due"


def test_an_accuser_of_itself_still_loses(opened: World) -> None:
    event = opened.event(ALICE, slash(*two_faced(opened)))
    assert event.prover == ALICE.address
    state = opened.federation.account(ALICE.address)
    assert state.bond_wei + state.credit_wei == MIN_STAKE - 150


# The contract, the core and an independent implementation agree (invariant 15) -----------


@settings(
    max_examples=usual(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(number=UINT64, base=BYTES32, update=BYTES32, examples=UINT64, metrics=BYTES32)
def test_digests_agree_and_signatures_recover(
    world: World, number: int, base: bytes, update: bytes, examples: int, metrics: bytes
) -> None:
    domain = world.federation.domain
    message = UpdateMessage(number, base, update, examples, metrics)
    typed = {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            "Update": [
                {"name": "round", "type": "uint64"},
                {"name": "baseModel", "type": "bytes32"},
                {"name": "update", "type": "bytes32"},
                {"name": "examples", "type": "uint64"},
                {"name": "metricsHash", "type": "bytes32"},
            ],
        },
        "primaryType": "Update",
        "domain": {
            "name": "Fedproof",
            "version": "1",
            "chainId": domain.chain_id,
            "verifyingContract": domain.verifying_contract,
        },
        "message": {
            "round": number,
            "baseModel": base,
            "update": update,
            "examples": examples,
            "metricsHash": metrics,
        },
    }
    signed = Account.sign_typed_data(ALICE.key, full_message=typed)
    on_chain = world.federation.update_digest(message)
    assert on_chain == statement_digest(domain, message) == bytes(signed.message_hash)
    assert (
        bytes(signed.signature)
        == world.signed(
            ALICE, number, update, base_model=base, examples=examples, metrics_hash=metrics
        ).signature
    )


def test_domain_separators_agree(world: World) -> None:
    assert world.federation.domain_separator() == domain_separator(world.federation.domain)
    other = World.create(replace(TERMS, min_stake_wei=5))
    other.send(COORDINATOR, calls.fund(1))
    assert other.federation.domain_separator() == world.federation.domain_separator()
    second = type(other.federation).deploy(
        other.w3, COORDINATOR, TERMS, transactor=other.federation.transactor
    )
    assert second.domain_separator() != world.federation.domain_separator()


def test_the_share_in_the_terms_is_the_one_taken() -> None:
    assert SLASH_BPS == 3_000
    for bps, taken in ((0, 0), (1, 0), (10, 1), (10_000, 1_000)):
        world = World.create(replace(TERMS, contributor_slash_bps=bps)).populate()
        world.open(1)
        assert world.event(BOB, slash(*two_faced(world))).amount == taken
