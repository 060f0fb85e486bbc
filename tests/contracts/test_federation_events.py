"""Replaying events rebuilds storage (invariant 18)."""

import pytest
from event_replay import Replay, assert_events_rebuild
from federation_world import (
    BUDGET,
    CONTRIBUTORS,
    COORDINATOR,
    EVERYONE,
    MIN_BOND,
    STRANGER,
    UNBONDING,
    World,
    digest,
    rewards_proof,
)

from contracts.binding import calls
from contracts.binding.artifacts import load_artifact
from contracts.binding.events import EVENT_TYPES, Joined
from contracts.binding.logs import FEDERATION_EVENTS
from coordinator.protocol.errors import LedgerError

ALICE, BOB = CONTRIBUTORS[:2]
OFFENCE = b"wrong carry-over".ljust(32, b"\0")


def eventful(world: World) -> None:
    """A history in which every event occurs."""
    gavel, address = world.deploy("gavel"), world.federation.address
    world.send(COORDINATOR, calls.set_referee(gavel))
    first = {ALICE.address: BUDGET, BOB.address: 0}
    world.play(1, first, BUDGET)
    world.open(2)
    world.send(COORDINATOR, calls.commit_updates(2, digest(8), 3))
    pair = [world.signed(ALICE, 2, digest(50 + i)) for i in range(2)]
    world.send(BOB, calls.slash_equivocation(*pair))
    world.seal(2)
    world.invoke(STRANGER, "gavel", gavel, "hold", address, 1, world.now + 90)
    world.open(3)
    world.invoke(STRANGER, "gavel", gavel, "convict", address, 2, BOB.address, OFFENCE)
    world.send(BOB, calls.collect())
    world.finalize(1)
    world.send(ALICE, calls.claim(*rewards_proof(first, ALICE.address)))
    world.send(COORDINATOR, calls.unbond_coordinator())
    world.send(COORDINATOR, calls.bond_coordinator(MIN_BOND))
    world.send(ALICE, calls.leave())
    world.send(ALICE, calls.withdraw(), at=world.now + UNBONDING)
    deadline = world.open(4)
    world.wait_until(deadline)
    world.send(STRANGER, calls.expire_round(4))
    world.open(5)


def test_replayed_events_give_what_the_views_show(world: World) -> None:
    eventful(world)
    seen = {type(event).__name__ for event in world.federation.events()}
    assert seen == set(EVENT_TYPES)
    replay = assert_events_rebuild(world, [account.address for account in EVERYONE])
    assert [int(replay.status(n)) for n in range(7)] == [0, 4, 5, 5, 5, 1, 0]


def test_a_lost_event_shows(world: World) -> None:
    eventful(world)
    events = list(world.federation.events())
    without = Replay().play(e for e in events if not isinstance(e, Joined))
    assert without.head() != world.federation.head()


def test_events_come_in_order_whatever_the_chunks(world: World) -> None:
    eventful(world)
    federation = world.federation
    whole = list(federation.events())
    for size in (1, 7):
        federation._logs.span_blocks = size
        assert list(federation.events()) == whole
    places = [(event.place.block_number, event.place.log_index) for event in whole]
    assert places == sorted(places)
    middle = places[len(places) // 2][0]
    head, tail = federation.events(0, middle), federation.events(middle + 1)
    assert [*head, *tail] == whole


def test_records_and_abi_name_the_same_events() -> None:
    abi = load_artifact("federation").events
    assert {event.name for event in abi.values()} == set(EVENT_TYPES)


def test_a_foreign_log_is_refused(world: World) -> None:
    place = next(world.federation.events()).place
    for topics in ([], [bytes(32)]):
        with pytest.raises(LedgerError, match="not one of the federation's events"):
            FEDERATION_EVENTS.decode(topics, b"", place)


def test_what_is_no_log_is_refused_with_its_place(world: World) -> None:
    place = next(world.federation.events()).place
    topic, account = FEDERATION_EVENTS.topic(Joined), bytes(31) + b"\1"
    where = f"block {place.block_number}, log {place.log_index}: no Joined event"
    for topics, data in (([topic], bytes(96)), ([topic, account], bytes(95))):
        with pytest.raises(LedgerError, match=where):
            FEDERATION_EVENTS.decode(topics, data, place)
    with pytest.raises(LedgerError, match="expected a mined log"):
        FEDERATION_EVENTS.decode_log({"blockNumber": None})
