"""A federation's whole life on the embedded node, on its HTTP server, and on anvil."""

from collections.abc import Iterator

import pytest
from anvil import running_anvil
from event_replay import assert_events_rebuild
from federation_world import (
    BUDGET,
    CONTRIBUTORS,
    COORDINATOR,
    ETHER,
    EVERYONE,
    MIN_BOND,
    MIN_STAKE,
    STRANGER,
    TERMS,
    UNBONDING,
    WINDOW,
    World,
    digest,
    rewards_proof,
    seal_call,
)
from remote_world import RemoteWorld, give_ether_on_anvil
from web3 import Web3

from contracts.binding import calls
from contracts.node.genesis import GenesisConfig
from contracts.node.node import EmbeddedNode
from contracts.node.rpc import Dispatcher
from contracts.node.server import serve_in_thread
from coordinator.protocol.errors import TransactionRevertedError
from coordinator.protocol.round.chain_round import RoundStatus

ALICE, BOB, CAROL = CONTRIBUTORS[:3]
OFFENCE = b"withheld data".ljust(32, b"\0")


@pytest.fixture(params=["embedded", "served", "anvil"])
def anywhere(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "embedded":
        world = World.create()
        yield world
        world.node.close()
    elif request.param == "served":
        alloc = {account.address: 100 * ETHER for account in EVERYONE}
        with (
            EmbeddedNode.create_or_open(None, GenesisConfig(alloc=alloc)) as node,
            serve_in_thread(Dispatcher(node, dev=True), port=0) as server,
        ):
            yield RemoteWorld.connect(Web3(Web3.HTTPProvider(server.url)))
    else:
        with running_anvil() as url:
            w3 = Web3(Web3.HTTPProvider(url))
            give_ether_on_anvil(w3)
            yield RemoteWorld.connect(w3)


@pytest.mark.slow
def test_a_federations_life(anywhere: World) -> None:
    world, federation = anywhere, anywhere.federation
    assert federation.terms == TERMS
    gavel = world.deploy("gavel")
    world.send(COORDINATOR, calls.set_referee(gavel))

    # Bonds and pool, in one batch where the node allows it.
    joins = [(member, calls.join(MIN_STAKE)) for member in CONTRIBUTORS]
    batch = federation.prepare_all(
        [*joins, (COORDINATOR, calls.bond_coordinator(2 * MIN_BOND)), (STRANGER, calls.fund(5_000))]
    )
    assert [receipt.events[0].amount for receipt in federation.send_batch(batch)] == [
        *[MIN_STAKE] * 6,
        2 * MIN_BOND,
        5_000,
    ]

    # Round 1: opened, committed, sealed, settled, final at the very second.
    deadline = world.open(1)
    world.send(COORDINATOR, calls.commit_updates(1, digest(8), 6))
    pair = [world.signed(CAROL, 1, digest(50 + i)) for i in range(2)]
    assert world.event(BOB, calls.slash_equivocation(*pair)).amount == 300
    world.seal(1)
    earned = {member.address: 0 for member in CONTRIBUTORS}
    earned |= {ALICE.address: 500, BOB.address: 199}
    world.settle(1, earned, 699)
    end = federation.round(1).finalizable_at
    assert end == world.now + WINDOW
    final = calls.finalize_round(1)
    assert world.reason(STRANGER, final, at=end - 1) == "round: window open"
    assert world.event(STRANGER, final, at=end).paid == 699
    assert world.event(ALICE, calls.claim(*rewards_proof(earned, ALICE.address))).amount == 500
    assert world.event(BOB, calls.collect()).amount == 150

    # Rounds 2 and 3 stack, 2 is convicted, 4 goes on from round 1, 5 misses its deadline.
    world.play(2)
    world.open(3)
    world.invoke(STRANGER, "gavel", gavel, "hold", federation.address, 2, world.now + 100)
    world.invoke(STRANGER, "gavel", gavel, "convict", federation.address, 2, BOB.address, OFFENCE)
    assert federation.head().model_root == digest(1001)
    world.play(4)
    deadline = world.open(5)
    assert world.reason(COORDINATOR, seal_call(5), at=deadline) == "round: deadline passed"
    world.send(STRANGER, calls.expire_round(5))
    world.finalize(4)
    assert [int(federation.status(number)) for number in range(1, 7)] == [4, 5, 5, 4, 5, 0]

    # Everybody leaves; what stays is pool and reserve.
    for member in CONTRIBUTORS:
        world.send(member, calls.leave())
    world.send(COORDINATOR, calls.unbond_coordinator())
    world.wait_until(world.now + UNBONDING)
    for account in (*CONTRIBUTORS, COORDINATOR):
        world.send(account, calls.withdraw())
    assert world.event(BOB, calls.collect()).amount == 5_000
    head = federation.head()
    assert (head.pool_wei, head.reserve_wei) == (5_000 - 699, 199)
    assert world.held == head.pool_wei + head.reserve_wei
    assert head.pledged_wei == 0 < BUDGET
    assert federation.status(5) is RoundStatus.VOID
    assert_events_rebuild(world, [account.address for account in EVERYONE])


@pytest.mark.slow
def test_refusals_have_the_contracts_reason_everywhere(anywhere: World) -> None:
    world = anywhere
    assert world.reason(ALICE, calls.leave()) == "stake: nothing bonded"
    assert world.reason(ALICE, calls.bond_coordinator(5)) == "role: not coordinator"
    with pytest.raises(TransactionRevertedError) as caught:
        world.federation._view("find_bond", ALICE.address, 3)
    assert caught.value.reason == "stake: round not opened"
    assert "stake: round not opened" in str(caught.value)
