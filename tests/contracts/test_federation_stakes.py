import pytest
from eth_account import Account
from federation_world import (
    CONTRIBUTORS,
    COORDINATOR,
    MIN_BOND,
    MIN_STAKE,
    STRANGER,
    UNBONDING,
    ZERO,
    World,
    key,
)

from contracts.binding import calls
from contracts.binding.calls import Call
from contracts.binding.events import CoordinatorBonded, Joined, Left, Withdrawn
from coordinator.protocol.errors import TransactionRevertedError

ALICE, BOB = CONTRIBUTORS[:2]


def test_joining_registers_the_member_and_bonds_what_was_sent(world: World) -> None:
    event = world.event(STRANGER, calls.join(MIN_STAKE))
    assert event == Joined(event.place, STRANGER.address, 7, MIN_STAKE, MIN_STAKE)
    state = world.federation.account(STRANGER.address)
    assert (state.index, state.bond_wei, state.unbonding_wei) == (7, MIN_STAKE, 0)
    assert world.federation.member(7) == STRANGER.address
    assert world.federation.head().member_count == 7


def test_joining_again_adds_to_the_bond_and_keeps_the_index(world: World) -> None:
    event = world.event(ALICE, calls.join(1))
    assert event == Joined(event.place, ALICE.address, 1, 1, MIN_STAKE + 1)
    assert world.federation.head().member_count == 6


@pytest.mark.parametrize(
    ("amount", "reason"),
    [(0, "stake: nothing sent"), (MIN_STAKE - 1, "stake: below minimum")],
)
def test_joining_with_too_little_is_refused(world: World, amount: int, reason: str) -> None:
    assert world.reason(STRANGER, calls.join(amount)) == reason
    assert world.federation.member_index(STRANGER.address) == 0


def test_a_bond_over_the_packing_limit_is_refused() -> None:
    world = World.create(wealth=2**100)
    assert world.reason(STRANGER, calls.join(2**96)) == "stake: too large"
    assert world.reason(COORDINATOR, calls.bond_coordinator(2**96)) == "stake: too large"
    event = world.event(STRANGER, calls.join(2**96 - 1))
    assert event == Joined(event.place, STRANGER.address, 1, 2**96 - 1, 2**96 - 1)
    assert world.reason(STRANGER, calls.join(1)) == "stake: too large"


def test_leaving_moves_the_whole_bond_to_unbonding(world: World) -> None:
    event = world.event(BOB, calls.leave())
    matures_at = world.now + UNBONDING
    assert event == Left(event.place, BOB.address, MIN_STAKE + 1, MIN_STAKE + 1, matures_at)
    state = world.federation.account(BOB.address)
    assert (state.index, state.bond_wei) == (2, 0)
    assert (state.unbonding_wei, state.matures_at) == (MIN_STAKE + 1, matures_at)
    assert world.reason(BOB, calls.leave()) == "stake: nothing bonded"


def test_one_who_never_joined_cannot_leave_or_withdraw(world: World) -> None:
    assert world.reason(STRANGER, calls.leave()) == "stake: nothing bonded"
    assert world.reason(STRANGER, calls.withdraw()) == "stake: nothing unbonding"


def test_withdrawal_is_refused_one_second_early_and_paid_at_maturity(world: World) -> None:
    world.send(BOB, calls.leave())
    matures_at = world.now + UNBONDING
    assert world.reason(BOB, calls.withdraw(), at=matures_at - 1) == "stake: still unbonding"
    before, held = world.balance(BOB.address), world.held
    receipt = world.send(BOB, calls.withdraw(), at=matures_at)
    (event,) = receipt.events
    assert event == Withdrawn(event.place, BOB.address, MIN_STAKE + 1)
    assert world.balance(BOB.address) == before + MIN_STAKE + 1 - receipt.fee_wei
    assert world.held == held - (MIN_STAKE + 1)
    assert world.federation.account(BOB.address).matures_at == 0
    assert world.reason(BOB, calls.withdraw()) == "stake: nothing unbonding"


def test_leaving_twice_restarts_the_clock_of_everything(world: World) -> None:
    world.send(BOB, calls.leave())
    world.send(BOB, calls.join(MIN_STAKE))
    world.wait_until(world.now + 100)
    event = world.event(BOB, calls.leave())
    assert event == Left(
        event.place, BOB.address, MIN_STAKE, 2 * MIN_STAKE + 1, world.now + UNBONDING
    )


def test_after_leaving_a_bond_below_the_minimum_does_not_readmit(world: World) -> None:
    world.send(BOB, calls.leave())
    assert world.reason(BOB, calls.join(MIN_STAKE - 1)) == "stake: below minimum"
    assert world.event(BOB, calls.join(MIN_STAKE)).index == 2


def test_the_coordinator_bonds_apart_from_the_members(world: World) -> None:
    event = world.event(COORDINATOR, calls.bond_coordinator(5))
    assert event == CoordinatorBonded(event.place, COORDINATOR.address, 5, 2 * MIN_BOND + 5)
    assert world.federation.account(COORDINATOR.address).index == 0
    assert world.reason(COORDINATOR, calls.bond_coordinator(0)) == "stake: nothing sent"


def test_a_coordinator_bond_below_the_minimum_is_refused() -> None:
    world = World.create()
    assert world.reason(COORDINATOR, calls.bond_coordinator(MIN_BOND - 1)) == "stake: below minimum"
    assert world.event(COORDINATOR, calls.bond_coordinator(MIN_BOND)).bond == MIN_BOND


def test_the_coordinator_unbonds_only_when_no_round_is_live(world: World) -> None:
    world.open(1)
    assert world.reason(COORDINATOR, calls.unbond_coordinator()) == "round: still live"
    world.seal(1)
    assert world.reason(COORDINATOR, calls.unbond_coordinator()) == "round: still live"
    world.settle(1, {ALICE.address: 0}, 0, score=0)
    assert world.reason(COORDINATOR, calls.unbond_coordinator()) == "round: still live"
    world.finalize(1)
    event = world.event(COORDINATOR, calls.unbond_coordinator())
    matures_at = world.now + UNBONDING
    assert event == Left(event.place, COORDINATOR.address, 2 * MIN_BOND, 2 * MIN_BOND, matures_at)
    opening = calls.open_round(2, world.federation.head().model_root, b"\1" * 32, world.now + 50)
    assert world.reason(COORDINATOR, opening) == "stake: coordinator bond too low"
    assert world.reason(COORDINATOR, calls.unbond_coordinator()) == "stake: nothing bonded"
    assert world.event(COORDINATOR, calls.withdraw(), at=matures_at).amount == 2 * MIN_BOND


def test_a_void_round_does_not_keep_the_coordinator_bonded(world: World) -> None:
    world.open(1)
    world.send(COORDINATOR, calls.void_round(1, "no quorum"))
    assert world.event(COORDINATOR, calls.unbond_coordinator()).amount == 2 * MIN_BOND


def test_the_history_gives_the_bond_at_each_opening(world: World) -> None:
    who, federation = ALICE.address, world.federation
    world.play(1)
    world.send(ALICE, calls.join(5))
    world.send(ALICE, calls.join(7))
    world.open(2)
    world.send(ALICE, calls.leave())  # during round 2: counts from round 3
    assert federation.bond_at(who, 2) == MIN_STAKE + 12
    world.seal(2)
    world.open(3)
    assert [federation.bond_at(who, r) for r in (1, 2, 3)] == [MIN_STAKE, MIN_STAKE + 12, 0]
    assert federation.checkpoints(who) == [(1, MIN_STAKE), (2, MIN_STAKE + 12), (3, 0)]
    assert federation.stakes_at(1)[who] == MIN_STAKE
    assert who not in federation.stakes_at(3)


def test_a_named_checkpoint_is_accepted_only_for_its_rounds(world: World) -> None:
    view, who = world.federation._view, ALICE.address
    world.play(1)
    world.play(2)
    world.send(ALICE, calls.join(5))
    world.open(3)
    assert [view("bond_at", who, *at) for at in ((1, 0), (2, 0), (3, 1))] == [1000, 1000, 1005]
    for wrong in ((1, 1), (2, 1), (3, 0), (3, 2), (1, 2**200)):
        with pytest.raises(TransactionRevertedError, match="wrong checkpoint"):
            view("bond_at", who, *wrong)
    with pytest.raises(TransactionRevertedError, match="wrong checkpoint"):
        view("bond_at", STRANGER.address, 1, 0)
    for call in (("bond_at", who, 4, 1), ("find_bond", who, 4)):
        with pytest.raises(TransactionRevertedError, match="round not opened"):
            view(*call)


def test_one_who_joins_in_a_round_counts_from_the_next(world: World) -> None:
    world.open(1)
    world.send(STRANGER, calls.join(MIN_STAKE))
    assert world.federation.bond_at(STRANGER.address, 1) == 0
    assert world.federation.round(1).member_count == 6
    world.seal(1)
    world.open(2)
    assert world.federation.bond_at(STRANGER.address, 2) == MIN_STAKE
    assert world.federation.round(2).member_count == 7


def test_the_roster_pages_through_all_members() -> None:
    many = [Account.from_key(key(1000 + i)) for i in range(300)]
    world = World.create(accounts=[COORDINATOR, STRANGER, *many])
    federation = world.federation
    joins = [(member, calls.join(MIN_STAKE + i)) for i, member in enumerate(many)]
    federation.send_batch(federation.prepare_all(joins))
    assert federation.members() == [member.address for member in many]
    assert federation.members(257) == [member.address for member in many[:257]]
    assert federation.members(0) == []
    assert federation.stakes_at(0) == {}
    assert federation.stakes_at(1)[many[299].address] == MIN_STAKE + 299
    assert federation.member(301) is None
    assert federation._view("roster", 2**256 - 1, 1) == ()
    assert federation._view("roster", 300, 1) == ((many[299].address, MIN_STAKE + 299),)


def test_ether_outside_the_payable_calls_is_refused(world: World) -> None:
    with_data = Call("leave", calls.leave().data, 1, 100_000, "leave with ether")
    for call in (Call("", b"", 1, 100_000, "plain ether"), with_data):
        with pytest.raises(TransactionRevertedError):
            world.send(ALICE, call)
    assert world.balance(ZERO) == 0
