from dataclasses import replace

import pytest
from federation_world import (
    BUDGET,
    CONTRIBUTORS,
    COORDINATOR,
    MIN_BOND,
    MODEL,
    RULE,
    STRANGER,
    TERMS,
    UNBONDING,
    WINDOW,
    World,
    digest,
    rewards_proof,
    seal_call,
)

from contracts.binding import calls
from contracts.binding.events import RefereeSet, RoundHeld, RoundVoided, Slashed
from coordinator.protocol.errors import TransactionRevertedError
from coordinator.protocol.round.chain_round import RoundStatus

ALICE, BOB = CONTRIBUTORS[:2]
OFFENCE = b"wrong aggregate".ljust(32, b"\0")
NOBODY = {member.address: 0 for member in CONTRIBUTORS}


class Court:
    """A world whose referee convicts and holds whatever it is asked to."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.gavel = world.deploy("gavel")
        world.send(COORDINATOR, calls.set_referee(self.gavel))

    def convict(self, number: int, prover: str = BOB.address, at: int | None = None) -> tuple:
        return self._ask("convict", number, prover, OFFENCE, at=at).events

    def hold(self, number: int, until: int, at: int | None = None) -> None:
        return self._ask("hold", number, until, at=at)

    def refused(self, verb: str, number: int, *rest: object, at: int | None = None) -> str:
        with pytest.raises(TransactionRevertedError) as caught:
            self._ask(verb, number, *rest, at=at)
        return caught.value.reason

    def _ask(self, verb: str, number: int, *rest: object, at: int | None) -> object:
        address = self.world.federation.address
        return self.world.invoke(STRANGER, "gavel", self.gavel, verb, address, number, *rest, at=at)

    def statuses(self, *numbers: int) -> list[int]:
        return [int(self.world.federation.status(number)) for number in numbers]


@pytest.fixture
def court(world: World) -> Court:
    return Court(world)


def verdict(court: Court, number: int) -> list[object]:
    """The federation's events in the last block."""
    block = court.world.node.head.number
    court.convict(number)
    return list(court.world.federation.events(block + 1))


def test_a_conviction_voids_the_round_and_cuts_the_bond(court: Court) -> None:
    world = court.world
    world.play(1)
    held, burned = world.held, world.burned
    voided, slashed = verdict(court, 1)
    assert voided == RoundVoided(voided.place, 1, OFFENCE, 0)
    assert slashed == Slashed(
        slashed.place, COORDINATOR.address, 1, BOB.address, OFFENCE, 10_000, 5_000, 10_000, 0
    )
    assert court.statuses(1) == [RoundStatus.VOID]
    assert world.federation.account(COORDINATOR.address).bond_wei == 10_000
    assert world.event(BOB, calls.collect()).amount == 5_000
    assert (world.held, world.burned) == (held - 10_000, burned + 5_000)


def test_a_conviction_voids_all_that_is_stacked_on_the_round(court: Court) -> None:
    world = court.world
    for number in (1, 2, 3, 4):
        world.play(number)
    world.open(5)
    (voided, _) = verdict(court, 2)
    assert voided.head_height == 1
    assert court.statuses(1, 2, 3, 4, 5) == [3, 5, 5, 5, 5]
    head = world.federation.head()
    assert (head.height, head.head_round, head.open_round) == (1, 1, 0)
    assert (head.model_root, head.pledged_wei) == (digest(1001), BUDGET)


def test_training_goes_on_from_the_last_sound_model(court: Court) -> None:
    world = court.world
    for number in (1, 2, 3):
        world.play(number)
    court.convict(2)
    opening = calls.open_round(4, digest(1003), RULE, world.now + 50)
    assert world.reason(COORDINATOR, opening) == "round: wrong model"
    event = world.event(COORDINATOR, calls.open_round(4, digest(1001), RULE, world.now + 50))
    assert (event.round, event.parent, event.height, event.pledged_cum) == (4, 1, 2, 2 * BUDGET)
    world.seal(4)
    # The heights of the void rounds are taken again: they stay void.
    world.settle(4, NOBODY, 0, score=0)
    world.play(5)
    assert court.statuses(1, 2, 3, 4, 5) == [3, 5, 5, 3, 3]
    assert world.federation.round_at_height(2) == 4
    for number in (1, 4, 5):
        world.finalize(number)
    assert court.statuses(1, 2, 3, 4, 5) == [4, 5, 5, 4, 4]


def test_nobody_is_paid_for_a_void_round(court: Court) -> None:
    world = court.world
    first = {**NOBODY, ALICE.address: BUDGET}
    second = {**first, BOB.address: BUDGET}
    world.play(1, first, BUDGET)
    world.play(2, second, BUDGET)
    court.convict(2)
    world.finalize(1)
    assert world.reason(STRANGER, calls.finalize_round(2)) == "round: not settled"
    claim = calls.claim(*rewards_proof(second, BOB.address))
    assert world.reason(BOB, claim) == "claim: bad proof"
    assert world.event(ALICE, calls.claim(*rewards_proof(first, ALICE.address))).amount == BUDGET
    assert world.federation.head().pool_wei == 99 * BUDGET


@pytest.mark.parametrize("settled", [False, True])
def test_sealed_and_settled_rounds_can_be_convicted(court: Court, settled: bool) -> None:
    court.world.open(1)
    court.world.seal(1)
    if settled:
        court.world.settle(1, NOBODY, 0, score=0)
    court.convict(1)
    assert court.statuses(1) == [RoundStatus.VOID]


def test_an_open_round_can_be_convicted_and_leaves_the_head(court: Court) -> None:
    world = court.world
    world.play(1)
    world.open(2)
    voided, slashed = verdict(court, 2)
    assert voided == RoundVoided(voided.place, 2, OFFENCE, 1)
    assert slashed.round == 2
    assert court.statuses(1, 2) == [3, 5]
    world.play(3)
    assert world.federation.round(3).height == 2


def test_a_conviction_is_pronounced_once(court: Court) -> None:
    court.world.play(1)
    court.world.play(2)
    court.convict(1)
    for number in (1, 2, 3, 0):
        assert court.refused("convict", number, BOB.address, OFFENCE) == "round: not live"
    assert court.world.federation.account(COORDINATOR.address).bond_wei == 10_000


def test_two_frauds_never_cut_more_than_there_is(court: Court) -> None:
    world = court.world
    for number in range(1, 8):
        world.play(number)
    taken = [verdict(court, number)[1].amount for number in range(7, 0, -1)]
    assert taken == [10_000, 5_000, 2_500, 1_250, 625, 312, 156]
    assert world.federation.account(COORDINATOR.address).bond_wei == 20_000 - sum(taken)


def test_a_convicted_coordinator_must_bond_again_to_go_on(court: Court) -> None:
    world = court.world
    world.play(1)
    court.convict(1)
    world.play(2)  # half of the bond is still the minimum
    court.convict(2)
    opening = calls.open_round(3, MODEL, RULE, world.now + 50)
    assert world.reason(COORDINATOR, opening) == "stake: coordinator bond too low"
    assert world.reason(COORDINATOR, calls.bond_coordinator(4_999)) == "stake: below minimum"
    world.send(COORDINATOR, calls.bond_coordinator(5_000))
    assert world.event(COORDINATOR, opening).round == 3


def test_the_coordinators_unbonding_funds_are_slashed_too(court: Court) -> None:
    world = court.world
    world.send(COORDINATOR, calls.unbond_coordinator())
    world.send(COORDINATOR, calls.bond_coordinator(MIN_BOND))
    world.play(1)
    (_, slashed) = verdict(court, 1)
    assert (slashed.amount, slashed.bond, slashed.unbonding) == (15_000, 0, 15_000)


def test_a_round_without_any_bond_left_is_still_voided(court: Court) -> None:
    world = World.create(replace(TERMS, coordinator_slash_bps=10_000)).populate()
    court = Court(world)
    world.play(1)
    world.play(2)
    assert verdict(court, 2)[1].amount == 20_000
    voided, slashed = verdict(court, 1)
    assert (slashed.amount, slashed.bounty) == (0, 0)
    assert voided.head_height == 0
    assert court.statuses(1, 2) == [5, 5]


def test_a_final_round_cannot_be_convicted(court: Court) -> None:
    court.world.play(1)
    court.world.play(2)
    court.world.finalize(1)
    assert court.refused("convict", 1, BOB.address, OFFENCE) == "round: not live"
    court.convict(2)
    assert court.statuses(1, 2) == [4, 5]


# Half-open windows (invariant 12) --------------------------------------------------------


def test_in_its_last_second_a_round_is_final_or_convicted_not_both(court: Court) -> None:
    world = court.world
    world.play(1)
    end = world.now + WINDOW
    refusal = court.refused("convict", 1, BOB.address, OFFENCE, at=end)
    assert refusal == "round: window closed"
    world.send(STRANGER, calls.finalize_round(1))
    assert court.statuses(1) == [RoundStatus.FINAL]


def test_one_second_earlier_it_can_be_convicted(court: Court) -> None:
    world = court.world
    world.play(1)
    end = world.now + WINDOW
    assert world.reason(STRANGER, calls.finalize_round(1), at=end - 2) == "round: window open"
    court.convict(1, at=end - 1)
    assert court.statuses(1) == [RoundStatus.VOID]


def test_an_open_round_is_convicted_before_its_deadline_only(court: Court) -> None:
    deadline = court.world.open(1)
    snapshot = court.world.node.snapshot()
    court.convict(1, at=deadline - 1)
    court.world.node.revert(snapshot)
    court.world.forget()
    refusal = court.refused("convict", 1, BOB.address, OFFENCE, at=deadline)
    assert refusal == "round: deadline passed"


def test_an_unsettled_round_stays_open_to_conviction(court: Court) -> None:
    court.world.open(1)
    court.world.seal(1)
    court.convict(1, at=court.world.now + 20 * WINDOW)
    assert court.statuses(1) == [RoundStatus.VOID]


# Holds -----------------------------------------------------------------------------------


def test_a_hold_keeps_a_dispute_open_past_the_window(court: Court) -> None:
    world = court.world
    world.play(1)
    end = world.now + WINDOW
    block = world.node.head.number
    court.hold(1, end + 30, at=end - 1)
    (event,) = world.federation.events(block + 1)
    assert event == RoundHeld(event.place, 1, end + 30)
    state = world.federation.round(1)
    assert (state.held_until, state.finalizable_at) == (end + 30, end + 30)
    assert world.reason(STRANGER, calls.finalize_round(1), at=end + 29) == "round: window open"
    snapshot = world.node.snapshot()
    assert world.event(STRANGER, calls.finalize_round(1), at=end + 30).round == 1
    world.node.revert(snapshot)
    world.forget()
    refusal = court.refused("convict", 1, BOB.address, OFFENCE, at=end + 30)
    assert refusal == "round: window closed"


def test_a_held_round_can_be_convicted_until_the_hold_ends(court: Court) -> None:
    world = court.world
    world.play(1)
    end = world.now + WINDOW
    court.hold(1, end + 30)
    court.convict(1, at=end + 29)
    assert court.statuses(1) == [RoundStatus.VOID]


def test_a_hold_inside_the_window_does_not_shorten_it(court: Court) -> None:
    world = court.world
    world.play(1)
    end = world.now + WINDOW
    court.hold(1, world.now + 5)
    assert world.reason(STRANGER, calls.finalize_round(1), at=end - 1) == "round: window open"
    assert world.event(STRANGER, calls.finalize_round(1), at=end).round == 1


def test_a_sealed_round_can_be_held_before_it_is_settled(court: Court) -> None:
    world = court.world
    world.open(1)
    assert court.refused("hold", 1, world.now + 10) == "round: not live"
    world.seal(1)
    until = world.now + UNBONDING
    court.hold(1, until)
    world.settle(1, NOBODY, 0, score=0)
    state = world.federation.round(1)
    assert (state.held_until, state.finalizable_at, state.n) == (until, until, 6)
    assert state.settled_at == world.now


def test_holds_only_grow_and_have_an_end(court: Court) -> None:
    world = court.world
    world.play(1)
    until = world.now + 60
    court.hold(1, until)
    assert court.refused("hold", 1, until) == "round: hold not longer"
    assert court.refused("hold", 1, until - 1) == "round: hold not longer"
    at = world.now + 3
    assert court.refused("hold", 1, at + UNBONDING + 1, at=at) == "round: hold too long"
    assert court.refused("hold", 1, 2**256 - 1) == "round: hold too long"
    at = world.now + 3
    court.hold(1, at + UNBONDING, at=at)
    assert world.federation.round(1).held_until == at + UNBONDING


def test_a_hold_comes_too_late_once_the_window_has_passed(court: Court) -> None:
    world = court.world
    world.play(1)
    end = world.now + WINDOW
    assert court.refused("hold", 1, end + 10, at=end) == "round: window closed"
    world.send(STRANGER, calls.finalize_round(1))
    assert court.refused("hold", 1, end + 20) == "round: not live"


# The referee -----------------------------------------------------------------------------


def test_the_referee_is_named_once_before_the_first_round(world: World) -> None:
    gavel, other = world.deploy("gavel"), world.deploy("gavel")
    event = world.event(COORDINATOR, calls.set_referee(gavel))
    assert event == RefereeSet(event.place, gavel)
    assert world.federation.head().referee == gavel
    assert world.reason(COORDINATOR, calls.set_referee(other)) == "referee: already set"


def test_no_referee_is_named_after_the_first_round(world: World) -> None:
    gavel = world.deploy("gavel")
    world.open(1)
    assert world.reason(COORDINATOR, calls.set_referee(gavel)) == "referee: round opened"


@pytest.mark.parametrize("who", ["0x" + "00" * 20, ALICE.address])
def test_a_referee_is_a_contract(world: World, who: str) -> None:
    assert world.reason(COORDINATOR, calls.set_referee(who)) == "referee: not a contract"


def test_without_a_referee_nobody_convicts(world: World) -> None:
    gavel = world.deploy("gavel")
    world.play(1)
    for verb, rest in (("convict", (BOB.address, OFFENCE)), ("hold", (world.now + 9,))):
        with pytest.raises(TransactionRevertedError) as caught:
            world.invoke(STRANGER, "gavel", gavel, verb, world.federation.address, 1, *rest)
        assert caught.value.reason == "role: not referee"


# Constant cost (invariant 13) ------------------------------------------------------------


def test_voiding_costs_the_same_for_one_round_as_for_forty() -> None:
    long = replace(TERMS, challenge_window_s=10_000, unbonding_period_s=20_000)
    court = Court(world := World.create(long).populate())
    gas = {}
    for depth in (1, 2, 3, 40):
        snapshot = world.node.snapshot()
        for number in range(1, depth + 1):
            world.play(number)
        gavel, address = court.gavel, world.federation.address
        args = (address, 1, BOB.address, OFFENCE)
        gas[depth] = world.invoke(STRANGER, "gavel", gavel, "convict", *args).gas_used
        assert court.statuses(*range(1, depth + 1)) == [5] * depth
        assert world.federation.head().pledged_wei == 0
        world.node.revert(snapshot)
        world.forget()
    # With nothing stacked on it, the convicted round is the last opened: one record less to read.
    assert gas[1] < gas[2] == gas[3] == gas[40] < 150_000


def test_a_void_open_round_is_gone_for_good(court: Court) -> None:
    world = court.world
    world.play(1)
    world.open(2)
    court.convict(1)
    assert world.reason(COORDINATOR, seal_call(2)) == "round: not open"
    assert world.reason(STRANGER, calls.expire_round(2)) == "round: not open"
    world.play(3)
    assert court.statuses(1, 2, 3) == [5, 5, 3]
