"""Contracts as payees: re-entering every paying function, and refusing payment (invariant 17)."""

from dataclasses import replace

import pytest
from federation_roles import DOMAIN, MATRIX
from federation_world import (
    BUDGET,
    CONTRIBUTORS,
    COORDINATOR,
    MIN_STAKE,
    STRANGER,
    TERMS,
    UNBONDING,
    World,
    digest,
    rewards_proof,
    seal_call,
)

from contracts.binding import calls
from contracts.binding.calls import Call
from coordinator.protocol.errors import TransactionRevertedError

ALICE = CONTRIBUTORS[0]
PAYING = ("withdraw", "claim", "collect")


class Payee:
    """A contract that is a member; ``kind`` says what it does when it is paid."""

    def __init__(self, world: World, kind: str) -> None:
        self.world, self.kind = world, kind
        self.address = world.deploy(kind)
        self.do(calls.join(MIN_STAKE))

    def do(self, call: Call, at: int | None = None) -> None:
        self.world.invoke(
            STRANGER,
            self.kind,
            self.address,
            "execute",
            self.world.federation.address,
            call.data,
            value=call.value_wei,
            at=at,
        )

    def due(self, function: str) -> tuple[Call, int]:
        """Bring about that the contract can be paid by a function; how, and how much."""
        world = self.world
        if function == "withdraw":
            self.do(calls.leave())
            world.wait_until(world.now + UNBONDING)
            return calls.withdraw(), MIN_STAKE
        if function == "claim":
            earned = {ALICE.address: BUDGET - 300, self.address: 300}
            world.play(1, earned, BUDGET)
            world.finalize(1)
            return calls.claim(*rewards_proof(earned, self.address)), 300
        world.open(1)
        pair = [world.signed(ALICE, 1, digest(50 + i)) for i in range(2)]
        self.do(calls.slash_equivocation(*pair))
        return calls.collect(), 150


@pytest.mark.parametrize("function", PAYING)
def test_a_payment_cannot_be_taken_twice_by_reentry(world: World, function: str) -> None:
    attacker = Payee(world, "reentrant")
    call, amount = attacker.due(function)
    held = world.held
    world.invoke(
        STRANGER,
        "reentrant",
        attacker.address,
        "arm",
        world.federation.address,
        call.data,
    )
    attacker.do(call)
    assert world.ask("reentrant", attacker.address, "attempts") == 1
    assert world.ask("reentrant", attacker.address, "successes") == 0
    assert world.balance(attacker.address) == amount
    assert world.held == held - amount
    with pytest.raises(TransactionRevertedError):
        attacker.do(call)


@pytest.mark.parametrize("inner", sorted(MATRIX))
@pytest.mark.parametrize("function", PAYING)
def test_nothing_can_be_called_during_a_payment(world: World, function: str, inner: str) -> None:
    attacker = Payee(world, "reentrant")
    call, amount = attacker.due(function)
    # Some of these would be refused anyway, for want of ether or of the role; that the lock alone
    # refuses the others, and these with both, is in test_federation_reentry_roles.
    data = MATRIX[inner][0].data
    world.invoke(STRANGER, "reentrant", attacker.address, "arm", world.federation.address, data)
    head = world.federation.head()
    attacker.do(call)
    assert world.ask("reentrant", attacker.address, "attempts") == 1
    assert world.ask("reentrant", attacker.address, "successes") == 0
    after = world.federation.head()
    assert replace(after, reserve_wei=0) == replace(head, reserve_wei=0)
    assert world.balance(attacker.address) == amount


def test_what_reentry_is_refused_would_succeed_outside(world: World) -> None:
    """The lock, not the call, is what failed above: here the inner call is a valid one."""
    attacker = Payee(world, "reentrant")
    call, _ = attacker.due("claim")
    world.play(2, {attacker.address: 300, ALICE.address: 400}, 0)
    world.wait_until(world.now + TERMS.challenge_window_s)
    final = calls.finalize_round(2)
    world.invoke(
        STRANGER, "reentrant", attacker.address, "arm", world.federation.address, final.data
    )
    attacker.do(call)
    assert world.ask("reentrant", attacker.address, "successes") == 0
    assert world.federation.status(2) == 3
    assert world.event(STRANGER, final).round == 2


def test_views_during_a_payment_see_settled_books(world: World) -> None:
    attacker = Payee(world, "reentrant")
    call, amount = attacker.due("withdraw")
    view = world.federation._functions["account"].encode_call([attacker.address])
    world.invoke(STRANGER, "reentrant", attacker.address, "arm", world.federation.address, view)
    attacker.do(call)
    assert world.ask("reentrant", attacker.address, "successes") == 1
    assert world.federation.account(attacker.address).unbonding_wei == 0
    assert world.balance(attacker.address) == amount


@pytest.mark.parametrize("function", PAYING)
def test_one_who_cannot_be_paid_harms_only_itself(world: World, function: str) -> None:
    refuser = Payee(world, "refuser")
    call, _ = refuser.due(function)
    held, state = world.held, world.federation.account(refuser.address)
    with pytest.raises(TransactionRevertedError) as caught:
        refuser.do(call)
    assert caught.value.reason == "pay: refused"
    assert (world.held, world.federation.account(refuser.address)) == (held, state)
    event = world.event(CONTRIBUTORS[1], calls.leave())
    assert event.amount == MIN_STAKE + 1


def test_a_member_that_cannot_be_paid_can_still_be_slashed(world: World) -> None:
    """Burning and crediting call nobody: no contract can stop its slash."""
    world.open(1)
    world.wait_until(world.now + 6)
    world.send(COORDINATOR, seal_call(1))
    refuser = Payee(world, "refuser")
    pair = [world.signed(ALICE, 1, digest(50 + i)) for i in range(2)]
    refuser.do(calls.slash_equivocation(*pair))
    assert world.federation.account(refuser.address).credit_wei == 150
    assert world.federation.account(ALICE.address).bond_wei == 700


def test_forced_ether_changes_no_books() -> None:
    """Invariant 1: tips of a miner that names the contract are held, and are nobody's."""
    world = World.create(coinbase=DOMAIN.verifying_contract).populate()
    head = world.federation.head()
    owed = head.pool_wei + sum(
        world.federation.account(a.address).bond_wei for a in (COORDINATOR, *CONTRIBUTORS)
    )
    assert world.held > owed
    world.play(1)
    world.finalize(1)
    after = world.federation.head()
    assert (after.pool_wei, after.reserve_wei) == (head.pool_wei, 0)
