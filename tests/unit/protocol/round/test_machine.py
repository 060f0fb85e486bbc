"""The round's state machine: legal paths, and every illegal pair refused."""

import itertools
from pathlib import Path
from typing import get_args

import pytest

from coordinator.protocol.errors import PhaseError
from coordinator.protocol.round import machine as m
from coordinator.protocol.round.chain_round import Seal, Settlement
from coordinator.protocol.types import Address, Commitment, RoundId, Signed, UpdateMessage, Wei

ALICE = Address("0x" + "aa" * 20)
BOB = Address("0x" + "bb" * 20)


def signed(who: Address, update: bytes = b"\1" * 32) -> Signed[UpdateMessage]:
    message = UpdateMessage(RoundId(1), b"\0" * 32, update, 10, b"\0" * 32)
    return Signed(who, message, b"\0" * 65)


def play(*events: m.Event, quorum: int = 1) -> tuple[m.RoundState, list[m.Effect]]:
    state, effects = m.RoundState(RoundId(1), quorum), []
    for event in events:
        state, new = m.transition(state, event)
        effects.extend(new)
    return state, effects


def committed(who: Address, commitment: bytes = b"\5" * 32) -> m.CommitmentAccepted:
    return m.CommitmentAccepted(Signed(who, Commitment(RoundId(1), commitment), b"\0" * 65))


def play_sealed(*events: m.Event, quorum: int = 1) -> tuple[m.RoundState, list[m.Effect]]:
    state, effects = m.RoundState(RoundId(1), quorum, sealed=True), []
    for event in events:
        state, new = m.transition(state, event)
        effects.extend(new)
    return state, effects


SEAL = Seal(b"\1" * 32, 1, 10, Wei(5), b"\2" * 32)
SETTLEMENT = Settlement(b"\3" * 32, 7, b"\4" * 32, Wei(6))
COLLECTING = (m.OpenRequested(), m.RoundOpened(deadline=100))
SEALED = (*COLLECTING, m.UpdateAccepted(signed(ALICE)), m.CollectionClosed(), m.Aggregated())


def test_a_round_goes_from_idle_to_final() -> None:
    state, effects = play(
        *SEALED,
        m.RoundSealed(SEAL),
        m.Scored(),
        m.RoundSettled(SETTLEMENT),
        m.WindowPassed(50),
        m.RoundFinalized(),
    )
    assert state.phase is m.Phase.FINAL
    assert effects == [
        m.OpenRound(RoundId(1)),
        m.KeepUpdate(signed(ALICE)),
        m.Aggregate(),
        m.SealRound(),
        m.ScoreRound(),
        m.SettleRound(),
        m.FinalizeRound(50),
    ]


def test_too_few_updates_void_the_round_and_say_how_many() -> None:
    state, effects = play(
        *COLLECTING, m.UpdateAccepted(signed(ALICE)), m.CollectionClosed(), quorum=3
    )
    assert state.phase is m.Phase.VOIDING
    assert effects[-1] == m.VoidRound("too few updates: 1 of 3")
    state, _ = m.transition(state, m.RoundVoided("too few updates: 1 of 3"))
    assert (state.phase, state.void_reason) == (m.Phase.VOID, "too few updates: 1 of 3")


def test_exactly_the_quorum_is_enough() -> None:
    both = (m.UpdateAccepted(signed(ALICE)), m.UpdateAccepted(signed(BOB)))
    state, _ = play(*COLLECTING, *both, m.CollectionClosed(), quorum=2)
    assert state.phase is m.Phase.AGGREGATING


def test_an_equivocator_loses_its_first_update_and_is_brought_to_the_ledger() -> None:
    first, second = signed(ALICE), signed(ALICE, b"\2" * 32)
    state, effects = play(
        *COLLECTING,
        m.UpdateAccepted(signed(BOB)),
        m.UpdateAccepted(first),
        m.Equivocated(first, second),
    )
    assert set(state.accepted) == {BOB}
    assert state.equivocators == {ALICE}
    assert effects[-1] == m.DropUpdate(ALICE)
    assert m.transition(state, m.CollectionClosed())[1] == (
        m.SlashEquivocation(first, second),
        m.Aggregate(),
    )
    assert [r.code for r in state.refusals] == ["equivocation"]
    with pytest.raises(PhaseError, match="already decided"):
        m.transition(state, m.UpdateAccepted(first))


def test_a_refusal_is_recorded_and_the_round_goes_on() -> None:
    state, effects = play(*COLLECTING, m.UpdateRefused("node 7", "bad-signature", "who is this"))
    assert state.phase is m.Phase.COLLECTING
    assert effects == [m.OpenRound(RoundId(1))]
    assert state.refusals == (m.UpdateRefused("node 7", "bad-signature", "who is this"),)


def test_accepting_twice_is_our_own_mistake() -> None:
    accepted = m.UpdateAccepted(signed(ALICE))
    state, _ = play(*COLLECTING, accepted)
    with pytest.raises(PhaseError, match="accepting twice"):
        m.transition(state, accepted)
    assert set(state.accepted) == {ALICE}


def test_failed_aggregation_voids_with_its_reason() -> None:
    state, effects = play(
        *COLLECTING,
        m.UpdateAccepted(signed(ALICE)),
        m.CollectionClosed(),
        m.AggregationFailed("parameter 3 overflows int32"),
    )
    assert state.phase is m.Phase.VOIDING
    assert effects[-1] == m.VoidRound("parameter 3 overflows int32")


def test_a_sealed_round_gathers_commitments_before_updates() -> None:
    state, effects = play_sealed(*COLLECTING, committed(ALICE), committed(BOB, b"\6" * 32))
    assert (state.phase, state.deadline) == (m.Phase.GATHERING, 100)
    assert state.commitments == {ALICE: b"\5" * 32, BOB: b"\6" * 32}
    assert effects == [m.OpenRound(RoundId(1))]
    state, effects = m.transition(state, m.CommitmentsClosed())
    assert (state.phase, effects) == (m.Phase.COMMITTING, (m.CommitUpdates(),))
    state, effects = m.transition(state, m.UpdatesCommitted())
    assert (state.phase, effects) == (m.Phase.COLLECTING, ())
    state, _ = m.transition(state, m.UpdateAccepted(signed(ALICE)))
    state, effects = m.transition(state, m.CollectionClosed())
    assert (state.phase, effects) == (m.Phase.AGGREGATING, (m.Aggregate(),))


def test_a_resumed_sealed_round_goes_on_with_the_updates() -> None:
    known = {ALICE: b"\5" * 32}
    state, _ = play_sealed(m.OpenRequested(), m.RoundOpened(100, known))
    assert (state.phase, state.commitments) == (m.Phase.COLLECTING, known)


def test_an_open_round_does_not_look_at_commitments() -> None:
    state, _ = play(m.OpenRequested(), m.RoundOpened(100, {ALICE: b"\5" * 32}))
    assert (state.phase, state.commitments) == (m.Phase.COLLECTING, {})


def test_too_few_commitments_void_the_round_and_say_how_many() -> None:
    state, effects = play_sealed(*COLLECTING, committed(ALICE), m.CommitmentsClosed(), quorum=2)
    assert state.phase is m.Phase.VOIDING
    assert effects[-1] == m.VoidRound("too few commitments: 1 of 2")


def test_conflicting_commitments_take_their_contributor_out() -> None:
    state, effects = play_sealed(*COLLECTING, committed(ALICE), m.CommitmentsConflicted(ALICE))
    assert (state.commitments, state.conflicted) == ({}, {ALICE})
    assert [r.code for r in state.refusals] == ["conflicting-commitment"]
    assert effects == [m.OpenRound(RoundId(1))]
    with pytest.raises(PhaseError, match="already decided"):
        m.transition(state, committed(ALICE))


def test_a_refused_commitment_is_recorded_and_gathering_goes_on() -> None:
    state, _ = play_sealed(*COLLECTING, m.UpdateRefused("node 7", "no-reply", "nothing came"))
    assert (state.phase, len(state.refusals)) == (m.Phase.GATHERING, 1)


SAMPLES: list[m.Event] = [
    m.OpenRequested(),
    m.RoundOpened(1),
    committed(BOB),
    m.CommitmentsConflicted(BOB),
    m.CommitmentsClosed(),
    m.UpdatesCommitted(),
    m.UpdateAccepted(signed(BOB)),
    m.UpdateRefused("x", "y", "z"),
    m.Equivocated(signed(BOB), signed(BOB, b"\3" * 32)),
    m.CollectionClosed(),
    m.Aggregated(),
    m.AggregationFailed("r"),
    m.RoundSealed(SEAL),
    m.Scored(),
    m.RoundSettled(SETTLEMENT),
    m.WindowPassed(1),
    m.WindowExtended(),
    m.RoundFinalized(),
    m.RoundVoided("r"),
]


@pytest.mark.parametrize(
    ("phase", "event"),
    [
        (phase, event)
        for phase, event in itertools.product(m.Phase, SAMPLES)
        if (phase, type(event)) not in m.TRANSITIONS
    ],
    ids=lambda value: value.value if isinstance(value, m.Phase) else type(value).__name__,
)
def test_everything_outside_the_table_is_refused(phase: m.Phase, event: m.Event) -> None:
    state = m.RoundState(RoundId(1), 1, phase)
    with pytest.raises(PhaseError, match=f"round 1 is {phase.value}"):
        m.transition(state, event)


def test_a_final_or_void_round_never_changes() -> None:
    finished = {m.Phase.FINAL, m.Phase.VOID}
    assert not [key for key in m.TRANSITIONS if key[0] in finished]


def test_a_held_round_waits_for_its_window_again() -> None:
    settled = (*SEALED, m.RoundSealed(SEAL), m.Scored(), m.RoundSettled(SETTLEMENT))
    state, effects = play(*settled, m.WindowPassed(50), m.WindowExtended())
    assert state.phase is m.Phase.SETTLED
    assert m.transition(state, m.WindowPassed(90))[1] == (m.FinalizeRound(90),)
    assert effects[-1] == m.FinalizeRound(50)


def test_equivocators_are_slashed_in_order_of_address_and_update() -> None:
    one, two = signed(ALICE), signed(ALICE, b"\2" * 32)
    three, four = signed(BOB, b"\3" * 32), signed(BOB, b"\4" * 32)
    for events in itertools.permutations((m.Equivocated(two, one), m.Equivocated(four, three))):
        state, effects = play(*COLLECTING, *events, m.CollectionClosed())
        assert state.phase is m.Phase.VOIDING
        assert effects[-3:] == [
            m.SlashEquivocation(one, two),
            m.SlashEquivocation(three, four),
            m.VoidRound("too few updates: 0 of 1"),
        ]


# --- the table itself --------------------------------------------------------------------------

EVENTS, EFFECTS = set(get_args(m.Event)), set(get_args(m.Effect))


def test_every_event_and_every_effect_has_a_row() -> None:
    assert {row.event for row in m.TABLE} == EVENTS == {type(event) for event in SAMPLES}
    assert {effect for row in m.TABLE for effect in row.effects} == EFFECTS


def test_every_phase_is_reached_from_idle_and_leads_to_an_end() -> None:
    def reach(ends: set[m.Phase], steps: list[tuple[m.Phase, m.Phase]]) -> set[m.Phase]:
        while more := {b for a, b in steps if a in ends} - ends:
            ends |= more
        return ends

    forward = [(row.phase, row.next_phase) for row in m.TABLE]
    assert reach({m.Phase.IDLE}, forward) == set(m.Phase)
    backward = [(b, a) for a, b in forward]
    assert reach({m.Phase.FINAL, m.Phase.VOID}, backward) == set(m.Phase)


def test_of_rows_with_one_phase_and_event_only_the_last_has_no_condition() -> None:
    for key, rows in m.TRANSITIONS.items():
        assert [row.when is None for row in rows] == [False] * (len(rows) - 1) + [True], key


def test_changes_leave_the_phase_to_the_table() -> None:
    assert set(m.CHANGES) < EVENTS
    for event in SAMPLES:
        before = m.RoundState(RoundId(1), 0, m.Phase.SCORING)
        changed = m.CHANGES[type(event)](before, event) if type(event) in m.CHANGES else before
        assert changed.phase is m.Phase.SCORING


def table_text() -> str:
    """The table as ``docs/protocol.md`` shows it."""
    head = "| phase | event | if | next phase | effects |\n|---|---|---|---|---|\n"

    def line(row: m.Row) -> str:
        several = len(m.TRANSITIONS[row.phase, row.event]) > 1
        condition = row.when.text if row.when else "otherwise" if several else ""
        effects = ", ".join(f"`{effect.__name__}`" for effect in row.effects)
        event, after = f"`{row.event.__name__}`", row.next_phase.value
        return f"| {row.phase.value} | {event} | {condition} | {after} | {effects} |\n"

    return head + "".join(line(row) for row in m.TABLE)


def test_the_protocol_document_shows_the_table() -> None:
    shown = (Path(__file__).parents[4] / "docs/protocol.md").read_text()
    assert table_text() in shown, f"docs/protocol.md is to hold this table:\n{table_text()}"
