"""Re-entry by a contract whom nothing but the lock keeps from what it calls (invariant 17).

It is the coordinator and the referee, or a member, holds ether, and is owed a payment of each
kind. Every call that it makes while it is paid would succeed at that moment from outside.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
import rlp
from eth_utils import keccak, to_checksum_address
from federation_roles import MATRIX, raw
from federation_world import (
    BUDGET,
    CONTRIBUTORS,
    COORDINATOR,
    MIN_BOND,
    MIN_OPEN,
    MIN_STAKE,
    MODEL,
    RULE,
    STRANGER,
    TERMS,
    UNBONDING,
    WINDOW,
    World,
    digest,
    rewards_proof,
    rewards_root,
    seal_call,
    settle_call,
)

from contracts.binding import calls
from contracts.binding.calls import Call
from coordinator.protocol.types import RoundId

ALICE, BOB = CONTRIBUTORS[:2]
# The attacker is the stranger's first transaction: its address can be agreed on before.
ADDRESS = to_checksum_address(keccak(rlp.encode([bytes.fromhex(STRANGER.address[2:]), 0]))[12:])
DUE = 300
"""What the attacker has earned."""


@dataclass
class Attacker:
    """A contract that calls back whenever it is paid."""

    world: World
    earned: dict[str, int]

    @property
    def payments(self) -> dict[str, Call]:
        """Calls that pay it now."""
        return {
            "withdraw": calls.withdraw(),
            "claim": calls.claim(*rewards_proof(self.earned, ADDRESS)),
            "collect": calls.collect(),
        }

    def _invoke(self, function: str, call: Call) -> None:
        to, value = self.world.federation.address, call.value_wei
        self.world.invoke(STRANGER, "reentrant", ADDRESS, function, to, call.data, value=value)

    def do(self, call: Call) -> None:
        self._invoke("execute", call)

    def arm(self, call: Call) -> None:
        self._invoke("arm_with", call)

    def count(self, name: str) -> int:
        return int(self.world.ask("reentrant", ADDRESS, name))

    def slash(self, victim: object) -> Call:
        """Evidence against a contributor in the open round 2."""
        pair = [self.world.signed(victim, 2, digest(50 + i)) for i in range(2)]  # type: ignore[arg-type]
        return calls.slash_equivocation(*pair)


def coordinating() -> Attacker:
    """The attacker runs the federation and is its referee; round 2 is open."""
    world = World.create(replace(TERMS, coordinator=ADDRESS))
    assert world.deploy("reentrant") == ADDRESS
    attacker = Attacker(world, {ADDRESS: DUE, ALICE.address: BUDGET - DUE})
    for member in CONTRIBUTORS:
        world.send(member, calls.join(MIN_STAKE))
    world.send(COORDINATOR, calls.fund(10 * BUDGET))
    attacker.do(calls.bond_coordinator(2 * MIN_BOND))
    attacker.do(calls.set_referee(ADDRESS))
    attacker.do(calls.unbond_coordinator())
    world.wait_until(world.now + UNBONDING + 1)
    attacker.do(calls.bond_coordinator(2 * MIN_BOND))
    attacker.do(calls.open_round(RoundId(1), MODEL, RULE, world.now + 100))
    world.wait_until(world.now + MIN_OPEN + 1)
    attacker.do(seal_call(1))
    attacker.do(settle_call(1, rewards_root(attacker.earned), BUDGET))
    world.finalize(1)
    head = world.federation.head().model_root
    attacker.do(calls.open_round(RoundId(2), head, RULE, world.now + 100))
    attacker.do(attacker.slash(ALICE))
    return attacker


def contributing() -> Attacker:
    """The attacker is a member; round 2 is open."""
    world = World.create()
    assert world.deploy("reentrant") == ADDRESS
    world.populate()
    attacker = Attacker(world, {ADDRESS: DUE, ALICE.address: BUDGET - DUE})
    attacker.do(calls.join(MIN_STAKE))
    attacker.do(calls.leave())
    world.wait_until(world.now + UNBONDING + 1)
    attacker.do(calls.join(MIN_STAKE))
    world.play(1, attacker.earned, BUDGET)
    world.finalize(1)
    world.open(2)
    attacker.do(attacker.slash(ALICE))
    return attacker


@pytest.fixture(scope="module")
def roles() -> Iterator[dict[str, Attacker]]:
    made = {"coordinator": coordinating(), "member": contributing()}
    yield made
    for attacker in made.values():
        attacker.world.node.close()


def sealed(attacker: Attacker) -> None:
    attacker.world.wait_until(attacker.world.now + MIN_OPEN + 1)
    attacker.do(seal_call(2))


def settled(attacker: Attacker) -> None:
    sealed(attacker)
    attacker.do(settle_call(2, rewards_root(attacker.earned), 0, score=0))


def window_passed(attacker: Attacker) -> None:
    settled(attacker)
    attacker.world.wait_until(attacker.world.now + WINDOW + 1)


def deadline_passed(attacker: Attacker) -> None:
    attacker.world.wait_until(attacker.world.now + 101)


def voided(attacker: Attacker) -> None:
    attacker.do(calls.void_round(RoundId(2), "over"))


def min_open_passed(attacker: Attacker) -> None:
    attacker.world.wait_until(attacker.world.now + MIN_OPEN + 1)


def nothing(_: Attacker) -> None:
    """The round is open; that will do."""


Prepare = Callable[[Attacker], None]
Make = Callable[[Attacker], Call]


def reopen(attacker: Attacker) -> Call:
    head = attacker.world.federation.head().model_root
    return calls.open_round(RoundId(3), head, RULE, attacker.world.now + 100)


INNER: dict[str, tuple[str, Prepare, Make]] = {
    "join": ("member", nothing, lambda a: calls.join(MIN_STAKE)),
    "leave": ("member", nothing, lambda a: calls.leave()),
    "withdraw": ("member", nothing, lambda a: a.payments["withdraw"]),
    "claim": ("member", nothing, lambda a: a.payments["claim"]),
    "collect": ("member", nothing, lambda a: a.payments["collect"]),
    "fund": ("member", nothing, lambda a: calls.fund(5)),
    "slash_equivocation": ("member", nothing, lambda a: a.slash(BOB)),
    "finalize_round": ("coordinator", window_passed, lambda a: calls.finalize_round(RoundId(2))),
    "expire_round": ("coordinator", deadline_passed, lambda a: calls.expire_round(RoundId(2))),
    "bond_coordinator": ("coordinator", nothing, lambda a: calls.bond_coordinator(5)),
    "unbond_coordinator": ("coordinator", voided, lambda a: calls.unbond_coordinator()),
    "open_round": ("coordinator", voided, reopen),
    "commit_updates": (
        "coordinator",
        nothing,
        lambda a: calls.commit_updates(RoundId(2), digest(8), 3),
    ),
    "seal_round": ("coordinator", min_open_passed, lambda a: seal_call(2)),
    "settle_round": (
        "coordinator",
        sealed,
        lambda a: settle_call(2, rewards_root(a.earned), 0, score=0),
    ),
    "void_round": ("coordinator", nothing, lambda a: calls.void_round(RoundId(2), "over")),
    "convict_coordinator": (
        "coordinator",
        settled,
        lambda a: raw("convict_coordinator", 2, ALICE.address, digest(1)),
    ),
    "hold_round": (
        "coordinator",
        settled,
        lambda a: raw("hold_round", 2, a.world.now + WINDOW + 50),
    ),
}


def test_every_function_that_changes_state_is_tried() -> None:
    """All but one: a referee is named before the first round, see below."""
    assert set(INNER) | {"set_referee"} == set(MATRIX)


@pytest.mark.parametrize("inner", INNER)
def test_only_the_lock_refuses_a_call_during_a_payment(
    roles: dict[str, Attacker], inner: str
) -> None:
    role, prepare, make = INNER[inner]
    attacker = roles[role]
    world = attacker.world
    begin = world.node.snapshot()
    world.forget()
    prepare(attacker)
    call = make(attacker)
    for function, payment in attacker.payments.items():
        if function == inner:
            continue  # is refused by the books as well: test_federation_reentry
        with_payment_due = world.node.snapshot()
        attacker.do(call)  # on its own it succeeds
        world.node.revert(with_payment_due)
        world.forget()
        with_payment_due = world.node.snapshot()
        attacker.arm(call)
        before, state = world.balance(ADDRESS), world.federation.round(RoundId(2))
        attacker.do(payment)
        assert (attacker.count("attempts"), attacker.count("successes")) == (1, 0), function
        assert world.balance(ADDRESS) > before
        assert world.federation.round(RoundId(2)) == state
        world.node.revert(with_payment_due)
        world.forget()
    world.node.revert(begin)


def test_a_referee_cannot_be_named_during_a_payment() -> None:
    world = World.create(replace(TERMS, coordinator=ADDRESS))
    assert world.deploy("reentrant") == ADDRESS
    attacker = Attacker(world, {})
    attacker.do(calls.bond_coordinator(MIN_BOND))
    attacker.do(calls.unbond_coordinator())
    world.wait_until(world.now + UNBONDING + 1)
    name = calls.set_referee(ADDRESS)
    snapshot = world.node.snapshot()
    attacker.do(name)
    world.node.revert(snapshot)
    world.forget()
    attacker.arm(name)
    attacker.do(calls.withdraw())
    assert (attacker.count("attempts"), attacker.count("successes")) == (1, 0)
    assert int(world.federation.head().referee, 16) == 0
    world.node.close()
