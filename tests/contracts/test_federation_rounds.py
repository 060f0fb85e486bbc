import dataclasses

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
    seal_call,
    settle_call,
)

from contracts.binding import calls
from contracts.binding.events import (
    RoundFinalized,
    RoundOpened,
    RoundSealed,
    RoundSettled,
    RoundVoided,
    UpdatesCommitted,
)
from coordinator.ledger.contract_ledger import chain_reason
from coordinator.protocol.round.chain_round import VOID_REASON_BYTES, ChainRound, RoundStatus

NOBODY = {member.address: 0 for member in CONTRIBUTORS}
EMPTY = bytes(32)
EXPIRED = b"deadline".ljust(32, b"\0")
"""The reason of a round that missed its deadline."""


def open_call(world: World, number: int, model: bytes = MODEL, length: int = 100) -> calls.Call:
    return calls.open_round(number, model, RULE, world.now + 1 + length)


def test_opening_fixes_what_the_round_stands_on(world: World) -> None:
    event = world.event(COORDINATOR, open_call(world, 1))
    now = world.now
    assert event == RoundOpened(
        event.place, 1, MODEL, RULE, now + 100, now, 0, 1, 6, BUDGET, BUDGET
    )
    assert world.federation.round(1) == ChainRound(
        round_id=1,
        status=RoundStatus.OPEN,
        model_root=MODEL,
        rule_hash=RULE,
        opened_at=now,
        deadline=now + 100,
        parent=0,
        height=1,
        member_count=6,
        budget_wei=BUDGET,
        pledged_cum_wei=BUDGET,
        commitments_root=EMPTY,
        commitments_count=0,
        contributors_root=EMPTY,
        n=0,
        total_examples=0,
        total_stake_wei=0,
        new_model_root=EMPTY,
        sealed_at=0,
        seal_block=0,
        scores_root=EMPTY,
        total_score=0,
        rewards_root=EMPTY,
        paid_wei=0,
        settled_at=0,
        held_until=0,
        finalizable_at=None,
    )
    head = world.federation.head()
    assert (head.last_opened, head.open_round, head.height, head.head_round) == (1, 1, 0, 0)


@pytest.mark.parametrize("number", [0, 2, 2**200])
def test_the_first_round_is_number_one(world: World, number: int) -> None:
    assert world.reason(COORDINATOR, open_call(world, number)) == "round: wrong number"


def test_a_second_round_cannot_open_beside_the_first(world: World) -> None:
    world.open(1)
    assert world.reason(COORDINATOR, open_call(world, 2)) == "round: still open"


def test_a_round_opens_only_on_the_model_of_the_head(world: World) -> None:
    assert world.reason(COORDINATOR, open_call(world, 1, digest(5))) == "round: wrong model"
    world.play(1)
    assert world.reason(COORDINATOR, open_call(world, 2, MODEL)) == "round: wrong model"
    event = world.event(COORDINATOR, open_call(world, 2, digest(1001)))
    assert (event.parent, event.height, event.model_root) == (1, 2, digest(1001))


def test_a_round_needs_the_coordinators_bond() -> None:
    world = World.create()
    opening = open_call(world, 1)
    assert world.reason(COORDINATOR, opening) == "stake: coordinator bond too low"
    world.send(COORDINATOR, calls.bond_coordinator(MIN_BOND))
    assert world.event(COORDINATOR, opening).round == 1


def test_sealing_commits_the_round_and_moves_the_head(world: World) -> None:
    world.open(1)
    receipt = world.seal(1, n=5)
    (event,) = receipt.events
    assert event == RoundSealed(
        event.place, 1, digest(21), 5, 72, 6_015, digest(1001), world.now, receipt.block_number
    )
    state = world.federation.round(1)
    assert (state.status, state.n, state.seal_block) == (2, 5, receipt.block_number)
    assert (state.contributors_root, state.new_model_root) == (digest(21), digest(1001))
    assert (state.total_examples, state.total_stake_wei) == (72, 6_015)
    head = world.federation.head()
    assert (head.open_round, head.height, head.head_round) == (0, 1, 1)
    assert head.model_root == digest(1001)
    assert world.federation.round_at_height(1) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"n": 1}, "round: too few contributors"),
        ({"n": 0}, "round: too few contributors"),
        ({"n": 7}, "round: more than members"),
        ({"n": 2**200}, "round: more than members"),
        ({"contributors_root": EMPTY}, "round: empty root"),
        ({"new_model_root": EMPTY}, "round: empty root"),
        ({"total_examples": 2**128}, "round: total too large"),
        ({"total_stake_wei": 2**128}, "round: total too large"),
    ],
)
def test_a_seal_that_cannot_be_right_is_refused(
    world: World, changes: dict[str, object], reason: str
) -> None:
    opened = world.open(1) - 100
    world.wait_until(opened + 10)
    assert world.reason(COORDINATOR, seal_call(1, **changes)) == reason
    limits = {"total_examples": 2**128 - 1, "total_stake_wei": 2**128 - 1, "n": 2}
    world.send(COORDINATOR, seal_call(1, **limits))
    state = world.federation.round(1)
    assert (state.total_examples, state.total_stake_wei, state.n) == (2**128 - 1, 2**128 - 1, 2)


def test_a_round_is_sealed_once_and_only_while_open(world: World) -> None:
    assert world.reason(COORDINATOR, seal_call(1)) == "round: not open"
    world.open(1)
    world.seal(1)
    assert world.reason(COORDINATOR, seal_call(1)) == "round: not open"
    world.open(2)
    world.send(COORDINATOR, calls.void_round(2, "no quorum"))
    assert world.reason(COORDINATOR, seal_call(2)) == "round: not open"


def test_commitments_are_fixed_once_before_uploads(world: World) -> None:
    call = calls.commit_updates(1, digest(8), 4)
    assert world.reason(COORDINATOR, call) == "round: not open"
    world.open(1)
    empty = calls.commit_updates(1, EMPTY, 4)
    assert world.reason(COORDINATOR, empty) == "round: empty root"
    event = world.event(COORDINATOR, call)
    assert event == UpdatesCommitted(event.place, 1, digest(8), 4)
    state = world.federation.round(1)
    assert (state.commitments_root, state.commitments_count) == (digest(8), 4)
    assert world.reason(COORDINATOR, call) == "round: already committed"
    world.seal(1)
    assert world.reason(COORDINATOR, call) == "round: not open"


def test_settling_commits_scores_and_rewards(world: World) -> None:
    world.open(1)
    world.seal(1)
    event = world.event(COORDINATOR, settle_call(1, digest(7), 698, score=13))
    assert event == RoundSettled(event.place, 1, digest(41), 13, digest(7), 698, world.now)
    state = world.federation.round(1)
    assert (state.status, state.scores_root, state.total_score) == (3, digest(41), 13)
    assert (state.rewards_root, state.paid_wei) == (digest(7), 698)
    assert (state.settled_at, state.finalizable_at) == (world.now, world.now + WINDOW)
    assert world.reason(COORDINATOR, settle_call(1, digest(7), 698)) == "round: not sealed"


@pytest.mark.parametrize(
    ("paid", "score", "reason"),
    [
        (BUDGET + 1, 7, "round: pays over budget"),
        (BUDGET - 6, 7, "round: pays too little"),  # six contributors lose under six wei
        (0, 7, "round: pays too little"),
        (1, 0, "round: pays without score"),
        (2**255, 7, "round: pays over budget"),
        (BUDGET, 2**128, "round: total too large"),
    ],
)
def test_payments_that_no_split_gives_are_refused(
    world: World, paid: int, score: int, reason: str
) -> None:
    world.open(1)
    world.seal(1)
    assert world.reason(COORDINATOR, settle_call(1, digest(7), paid, score)) == reason


@pytest.mark.parametrize(("paid", "score"), [(BUDGET, 1), (BUDGET - 5, 2**128 - 1), (0, 0)])
def test_payments_at_the_bounds_of_a_split_are_taken(world: World, paid: int, score: int) -> None:
    world.open(1)
    world.seal(1)
    world.send(COORDINATOR, settle_call(1, digest(7), paid, score))
    assert world.federation.round(1).paid_wei == paid
    assert world.federation.round(1).total_score == score


def test_a_settlement_needs_roots(world: World) -> None:
    world.open(1)
    world.seal(1)
    without_scores = settle_call(1, digest(7), BUDGET, scores_root=EMPTY)
    assert world.reason(COORDINATOR, without_scores) == "round: empty root"
    assert world.reason(COORDINATOR, settle_call(1, EMPTY, BUDGET)) == "round: empty root"


def test_rounds_are_settled_in_order_of_height(world: World) -> None:
    world.open(1)
    assert world.reason(COORDINATOR, settle_call(1, digest(7), BUDGET)) == "round: not sealed"
    world.seal(1)
    world.open(2)
    world.seal(2)
    second = settle_call(2, digest(7), BUDGET)
    assert world.reason(COORDINATOR, second) == "round: parent not settled"
    world.settle(1, NOBODY, 0, score=0)
    assert world.event(COORDINATOR, second).round == 2


def test_finalising_releases_what_the_round_pays(world: World) -> None:
    world.open(1)
    assert world.reason(STRANGER, calls.finalize_round(1)) == "round: not settled"
    world.seal(1)
    assert world.reason(STRANGER, calls.finalize_round(1)) == "round: not settled"
    world.send(COORDINATOR, settle_call(1, digest(7), 698))
    (event,) = world.finalize(1).events
    assert event == RoundFinalized(event.place, 1, digest(7), 698)
    head = world.federation.head()
    assert (head.final_height, head.final_round, head.rewards_root) == (1, 1, digest(7))
    assert (head.pool_wei, head.reserve_wei, head.pledged_wei) == (100 * BUDGET - 698, 698, 0)
    assert world.federation.status(1) == RoundStatus.FINAL
    assert world.reason(STRANGER, calls.finalize_round(1)) == "round: not settled"


def test_rounds_are_finalised_in_order_of_height(world: World) -> None:
    world.play(1)
    world.play(2)
    world.wait_until(world.now + WINDOW + 1)
    assert world.reason(STRANGER, calls.finalize_round(2)) == "round: parent not final"
    world.send(STRANGER, calls.finalize_round(1))
    world.send(STRANGER, calls.finalize_round(2))
    assert world.federation.head().final_round == 2


def test_voiding_gives_the_number_away_but_not_the_head(world: World) -> None:
    world.play(1)
    world.open(2)
    event = world.event(COORDINATOR, calls.void_round(2, "two valid updates of 4"))
    assert event == RoundVoided(event.place, 2, b"two valid updates of 4".ljust(32, b"\0"), 1)
    assert event.reason_text == "two valid updates of 4"
    assert world.federation.status(2) == RoundStatus.VOID
    assert world.federation.head().model_root == digest(1001)
    again = calls.void_round(2, "again")
    assert world.reason(COORDINATOR, again) == "round: not open"
    reopened = world.event(COORDINATOR, open_call(world, 3, digest(1001)))
    assert (reopened.round, reopened.parent, reopened.height) == (3, 1, 2)


def test_as_much_of_a_reason_as_the_contract_keeps_is_read_back(world: World) -> None:
    world.open(1)
    reason = chain_reason("naïve aggregation of 12 updates: parameter 3 overflows")
    assert len(reason) == VOID_REASON_BYTES
    event = world.event(COORDINATOR, calls.void_round(1, reason))
    assert event.reason_text == world.federation.void_reason(1) == reason
    assert reason == "na?ve aggregation of 12 updates:"


@pytest.mark.parametrize("number", [0, 1, 2, 2**255])
def test_what_never_opened_has_no_record(world: World, number: int) -> None:
    state = world.federation.round(number)
    assert state.status is RoundStatus.NONE
    values = dataclasses.asdict(state)
    empty = {k: v for k, v in values.items() if k not in ("round_id", "finalizable_at")}
    assert all(value in (0, EMPTY) for value in empty.values())
    assert world.reason(COORDINATOR, calls.void_round(number, "x")) == "round: not open"


def test_the_parts_of_a_record_are_also_served_apart(world: World) -> None:
    world.play(1)
    view = world.federation._view
    assert view("record", 1) == (3, view("opening", 1), view("sealing", 1), view("settlement", 1))
    assert view("status", 1) == 3
    assert view("at_height", 1) == 1


# Pledges ---------------------------------------------------------------------------------


def small_pool(pool: int) -> World:
    world = World.create(dataclasses.replace(TERMS, challenge_window_s=0))
    world.send(COORDINATOR, calls.bond_coordinator(MIN_BOND))
    for member in CONTRIBUTORS:
        world.send(member, calls.join(1_000))
    if pool:
        world.send(STRANGER, calls.fund(pool))
    return world


def test_a_round_pledges_what_the_pool_has_left() -> None:
    world = small_pool(BUDGET + 150)
    budgets, pledged = [], []
    for number in (1, 2, 3):
        world.open(number)
        world.seal(number)
        budgets.append(world.federation.round(number).budget_wei)
        pledged.append(world.federation.head().pledged_wei)
    assert budgets == [BUDGET, 150, 0]
    assert pledged == [BUDGET, BUDGET + 150, BUDGET + 150]


def test_an_empty_pool_pays_nothing_whatever_the_scores() -> None:
    world = small_pool(0)
    world.open(1)
    world.seal(1)
    assert world.reason(COORDINATOR, settle_call(1, digest(7), 1)) == "round: pays over budget"
    world.send(COORDINATOR, settle_call(1, digest(7), 0, score=7))
    world.finalize(1)
    assert world.federation.head().reserve_wei == 0


def test_a_void_round_gives_its_pledge_back() -> None:
    world = small_pool(BUDGET)
    world.open(1)
    assert world.federation.head().pledged_wei == BUDGET
    world.send(COORDINATOR, calls.void_round(1, "no quorum"))
    assert world.federation.head().pledged_wei == 0
    world.open(2)
    assert world.federation.round(2).budget_wei == BUDGET


def test_a_final_round_pledges_only_until_it_is_paid() -> None:
    world = small_pool(BUDGET + 3)
    world.open(1)
    world.seal(1)
    world.settle(1, NOBODY, BUDGET - 4)
    world.finalize(1)
    head = world.federation.head()
    assert (head.pool_wei, head.pledged_wei, head.reserve_wei) == (7, 0, BUDGET - 4)
    world.open(2)
    assert world.federation.round(2).budget_wei == 7


# Half-open windows (invariant 12) --------------------------------------------------------


def test_before_its_earliest_second_a_round_cannot_be_sealed(world: World) -> None:
    opened = world.open(1) - 100
    assert world.reason(COORDINATOR, seal_call(1), at=opened + 4) == "round: seals early"
    assert world.event(COORDINATOR, seal_call(1), at=opened + 5).sealed_at == opened + 5


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (seal_call(1), "round: deadline passed"),
        (calls.commit_updates(1, digest(8), 4), "round: deadline passed"),
        (calls.void_round(1, "late"), "round: deadline passed"),
    ],
)
def test_at_the_deadline_only_expiry_may_act(world: World, call: calls.Call, reason: str) -> None:
    deadline = world.open(1)
    snapshot = world.node.snapshot()
    expire = calls.expire_round(1)
    assert world.reason(STRANGER, expire, at=deadline - 1) == "round: before deadline"
    world.node.revert(snapshot)
    world.forget()
    snapshot = world.node.snapshot()
    world.send(COORDINATOR, call, at=deadline - 1)
    world.node.revert(snapshot)
    world.forget()
    assert world.reason(COORDINATOR, call, at=deadline) == reason
    event = world.event(STRANGER, expire)
    assert event == RoundVoided(event.place, 1, EXPIRED, 0)
    assert event.reason_text == "deadline"
    assert world.reason(STRANGER, expire) == "round: not open"


def test_expiry_is_exactly_from_the_deadline_on(world: World) -> None:
    deadline = world.open(1)
    assert world.event(STRANGER, calls.expire_round(1), at=deadline).round == 1
    assert world.reason(STRANGER, calls.expire_round(2)) == "round: not open"


def test_opening_expires_an_overdue_round_on_the_way(world: World) -> None:
    deadline = world.open(1)
    opening = calls.open_round(2, MODEL, RULE, deadline + 50)
    assert world.reason(COORDINATOR, opening, at=deadline - 1) == "round: still open"
    assert world.federation.status(1) == RoundStatus.OPEN
    voided, opened = world.send(COORDINATOR, opening, at=deadline).events
    assert voided == RoundVoided(voided.place, 1, EXPIRED, 0)
    assert (opened.round, opened.parent, opened.height) == (2, 0, 1)
    assert world.federation.status(1) == RoundStatus.VOID


def test_the_deadline_leaves_room_to_seal_and_time_to_slash(world: World) -> None:
    at = world.now + 10
    longest = UNBONDING - WINDOW
    for ahead, reason in [
        (5, "round: deadline too soon"),
        (-100, "round: deadline too soon"),
        (longest + 1, "round: deadline too far"),
    ]:
        call = calls.open_round(1, MODEL, RULE, at + ahead)
        assert world.reason(COORDINATOR, call, at=at) == reason
        at = world.now + 10
    endless = calls.open_round(1, MODEL, RULE, 2**256 - 1)
    assert world.reason(COORDINATOR, endless) == "round: deadline too far"
    for ahead in (6, longest):
        snapshot, at = world.node.snapshot(), world.now + 10
        world.send(COORDINATOR, calls.open_round(1, MODEL, RULE, at + ahead), at=at)
        world.node.revert(snapshot)
        world.forget()


def test_a_bond_unbonded_in_a_round_outlasts_its_challenge_window(world: World) -> None:
    at = world.now + 10
    deadline = at + UNBONDING - WINDOW
    world.send(COORDINATOR, calls.open_round(1, MODEL, RULE, deadline), at=at)
    (left,) = world.send(CONTRIBUTORS[0], calls.leave(), at=at + 1).events
    assert left.matures_at > deadline + WINDOW


def test_finalising_waits_for_the_windows_last_second(world: World) -> None:
    world.play(1)
    end = world.now + WINDOW
    final = calls.finalize_round(1)
    assert world.reason(STRANGER, final, at=end - 1) == "round: window open"
    assert world.event(STRANGER, final, at=end).round == 1


def test_without_a_window_a_round_is_final_in_its_own_block() -> None:
    world = World.create(dataclasses.replace(TERMS, challenge_window_s=0, min_open_s=0))
    federation = world.federation
    setup = [(m, calls.join(1_000)) for m in CONTRIBUTORS]
    round_ = [
        (COORDINATOR, calls.bond_coordinator(MIN_BOND)),
        (COORDINATOR, calls.fund(BUDGET)),
        (COORDINATOR, calls.open_round(1, MODEL, RULE, world.now + 50)),
        (COORDINATOR, seal_call(1)),
        (COORDINATOR, settle_call(1, digest(7), BUDGET)),
        (COORDINATOR, calls.finalize_round(1)),
    ]
    receipts = federation.send_batch(federation.prepare_all([*setup, *round_]))
    assert {receipt.block_number for receipt in receipts} == {2}
    assert federation.status(1) == RoundStatus.FINAL
