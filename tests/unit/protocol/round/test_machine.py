"""The round's state machine: legal paths, and every illegal pair refused."""

import itertools

import pytest

from coordinator.protocol.errors import PhaseError
from coordinator.protocol.round import machine as m
from coordinator.protocol.types import Address, Commitment, RoundId, Signed, UpdateMessage

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


COLLECTING = (m.OpenRequested(), m.RoundOpened(deadline=100))
SEALED = (*COLLECTING, m.UpdateAccepted(signed(ALICE)), m.CollectionClosed(), m.Aggregated())


def test_a_round_goes_from_idle_to_final() -> None:
    state, effects = play(
        *SEALED, m.RoundSealed(), m.Scored(), m.RoundSettled(), m.WindowPassed(), m.RoundFinalized()
    )
    assert state.phase is m.Phase.FINAL
    assert effects == [
        m.OpenRound(RoundId(1)),
        m.KeepUpdate(signed(ALICE)),
        m.Aggregate(),
        m.SealRound(),
        m.ScoreRound(),
        m.SettleRound(),
        m.FinalizeRound(),
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
    assert m.DropUpdate(ALICE) in effects
    assert m.SlashEquivocation(first, second) in effects
    assert [r.code for r in state.refusals] == ["equivocation"]
    with pytest.raises(PhaseError, match="already decided"):
        m.transition(state, m.UpdateAccepted(first))


def test_a_refusal_is_recorded_and_the_round_goes_on() -> None:
    state, effects = play(*COLLECTING, m.UpdateRefused("node 7", "bad-signature", "who is this"))
    assert state.phase is m.Phase.COLLECTING
    assert effects[-1] == m.RecordRefusal("node 7", "bad-signature", "who is this")
    assert [r.sender for r in state.refusals] == ["node 7"]


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
    assert isinstance(effects[-1], m.RecordRefusal)
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
    m.RoundSealed(),
    m.Scored(),
    m.RoundSettled(),
    m.WindowPassed(),
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
