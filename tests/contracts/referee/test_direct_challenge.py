"""One transaction over all contributors: `challenge_chunk` and `challenge_padding`."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from dispute_rounds import INT32_MAX, MEDIAN, TRIMMED_MEAN, accounts, layout_of, make_rule
from dispute_world import (
    BASE,
    BOND,
    EXAMPLES,
    UPDATES,
    WATCHER,
    DisputeWorld,
    terms,
)

from benchmarks.padded_tree import padded_tree
from contracts.binding import referee_calls
from contracts.binding.artifacts import load_artifact
from contracts.binding.calls import Call
from coordinator.protocol.disputes import (
    CaseKind,
    DisputedRound,
    Evidence,
    FaultKind,
    find_faults,
    moves,
    moves_against,
)
from coordinator.protocol.disputes.cases import rule_words
from coordinator.protocol.disputes.moves import challenge_chunk, challenge_padding
from coordinator.protocol.errors import TransactionRevertedError
from coordinator.protocol.round.chain_round import RoundStatus
from coordinator.protocol.types import Rule, Wei

KINDS = [
    make_rule(),
    make_rule(weighting=2),
    make_rule(server_lr_q16=40_000),
    make_rule(kind=MEDIAN),
    make_rule(kind=TRIMMED_MEAN, num_byzantine=1),
    make_rule(kind=TRIMMED_MEAN, num_byzantine=0),
]
NAMES = ["by examples", "uniform", "learning rate", "median", "trimmed mean", "mean of all"]


def shifted(court: DisputeWorld, rule: Rule, parameter: int, by: int = 1) -> DisputedRound:
    """A committed round whose new model is wrong in one parameter."""
    draft = court.draft(rule=rule)
    draft.new_model = draft.new_model.copy()
    draft.new_model[parameter] += by
    return court.commit(draft)


@pytest.mark.parametrize("rule", KINDS, ids=NAMES)
@pytest.mark.parametrize("by", [1, -1])
def test_one_unit_in_one_parameter_is_proven(court: DisputeWorld, rule: Rule, by: int) -> None:
    round_ = shifted(court, rule, 3, by)
    (fault,) = find_faults(round_)
    assert (fault.kind, fault.place, fault.other) == (FaultKind.AGGREGATE, 3, 1)
    # Parameter 2 shares the chunk, and is right.
    assert court.refused(challenge_chunk(round_, 2)) == "dispute: chunk is right"
    direct, _ = moves_against(round_, fault)
    assert court.convict(direct) == "wrong aggregate"
    assert court.federation.status(1) == RoundStatus.VOID
    assert (court.bond, court.bounty(WATCHER)) == (BOND // 2, BOND // 4)
    assert court.refused(direct) == "round: not live"


@pytest.mark.parametrize("rule", KINDS, ids=NAMES)
def test_a_right_aggregate_is_not_convicted(court: DisputeWorld, rule: Rule) -> None:
    round_ = court.commit(court.draft(rule=rule))
    assert find_faults(round_) == []
    for parameter in range(5):
        assert court.refused(challenge_chunk(round_, parameter)) == "dispute: chunk is right"


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_any_number_of_contributors(court: DisputeWorld, count: int) -> None:
    updates = [*UPDATES, np.array([1, 1, 1, 1, -INT32_MAX], np.int32)][:count]
    draft = court.draft(updates, [*EXAMPLES, 7][:count], rule=make_rule(kind=MEDIAN))
    draft.new_model = draft.new_model + np.int32(1)
    round_ = court.commit(draft)
    assert court.convict(challenge_chunk(round_, 4)) == "wrong aggregate"


# --- the limits of int32 -----------------------------------------------------------------------


def extreme_updates(*values: int) -> list[np.ndarray]:
    return [np.array([value, 0, 0, 0, 0], np.int32) for value in values]


def test_values_at_the_limits_aggregate_exactly(court: DisputeWorld) -> None:
    updates = extreme_updates(-INT32_MAX - 1, INT32_MAX, INT32_MAX)
    draft = court.draft(updates, [1, 1, 2], rule=make_rule())
    # Weights 2^22, 2^22, 2^23 with values -2^31, 2^31 - 1, 2^31 - 1.
    assert int(draft.new_model[0]) == 100 + 2**30 - 1
    round_ = court.commit(draft)
    assert court.refused(challenge_chunk(round_, 0)) == "dispute: chunk is right"


@pytest.mark.parametrize("committed", [-INT32_MAX - 1 + 99, INT32_MAX])
def test_an_overflow_has_no_right_result(court: DisputeWorld, committed: int) -> None:
    """Neither the wrapped nor the clamped value is right: the round had to be void."""
    new_model = BASE.copy()
    new_model[0] = committed
    draft = court.draft(extreme_updates(INT32_MAX), [1], new_model=new_model)
    round_ = court.commit(draft)
    (fault,) = find_faults(round_)
    assert (fault.kind, fault.place) == (FaultKind.AGGREGATE, 0)
    assert court.convict(challenge_chunk(round_, 0)) == "wrong aggregate"


def test_an_overflow_below_has_no_right_result(court: DisputeWorld) -> None:
    new_model = BASE.copy()
    new_model[1] = -INT32_MAX - 1
    low = np.array([0, -INT32_MAX - 1, 0, 0, 0], np.int32)  # from -200
    round_ = court.commit(court.draft([low], [1], new_model=new_model))
    assert court.convict(challenge_chunk(round_, 1)) == "wrong aggregate"


def test_weights_too_large_aggregate_out_of_range(court: DisputeWorld) -> None:
    """The leaf is wrong as well; the aggregate is judged by the weight it commits to."""
    for value, new in ((INT32_MAX, 99), (-INT32_MAX - 1, 100)):
        snapshot = court.node.snapshot()
        draft = court.draft(extreme_updates(value), [1], new_model=BASE)
        draft.change_leaf(0, weight=2**25)
        draft.new_model = np.array([new, *BASE[1:]], np.int32)
        round_ = court.commit(draft)
        assert court.convict(challenge_chunk(round_, 0)) == "wrong aggregate"
        court.node.revert(snapshot)
        court.forget()


@pytest.mark.parametrize("values", [(-1, -2), (-1, -1, -3), (-5, 2), (1, 2), (-2, -2)])
@pytest.mark.parametrize("kind", [2, 3])
def test_means_of_negative_values_round_halves_up(
    court: DisputeWorld, kind: int, values: tuple[int, ...]
) -> None:
    rule = make_rule(kind=kind)
    draft = court.draft(extreme_updates(*values), [1] * len(values), rule=rule)
    kept = sorted(values)[(len(values) - 1) // 2 : len(values) // 2 + 1] if kind == 2 else values
    mean = math.floor(Fraction(sum(kept), len(kept)) + Fraction(1, 2))
    assert int(draft.new_model[0]) == BASE[0] + mean
    round_ = court.commit(draft)
    assert court.refused(challenge_chunk(round_, 0)) == "dispute: chunk is right"


def test_a_step_that_overflows_has_no_right_result(court: DisputeWorld) -> None:
    """The step leaves int32 although model plus step does not."""
    base = BASE.copy()
    base[0] = -INT32_MAX - 1
    # 2^30 at a learning rate of 2 is 2^31; from -2^31 that would be 0.
    rule = make_rule(server_lr_q16=2 << 16)
    other = DisputeWorld.create(agreed=terms(base, rule))
    draft = other.draft(
        extreme_updates(2**30), [1], rule=rule, base=base, new_model=np.zeros(5, np.int32)
    )
    draft.new_model[1:] = base[1:]
    round_ = other.commit(draft)
    assert find_faults(round_)[0].place == 0
    assert other.convict(challenge_chunk(round_, 0)) == "wrong aggregate"
    other.node.close()


# --- what the caller cannot choose -------------------------------------------------------------


def changed(evidence: Evidence, at: int, value: object) -> Evidence:
    arguments = list(evidence.arguments)
    arguments[at] = value
    return replace(evidence, arguments=tuple(arguments))


def test_wrong_order_statistics_prove_nothing(court: DisputeWorld) -> None:
    """The round is wrong, but the caller's claim is too: refused, and right the next time."""
    rule = make_rule(kind=TRIMMED_MEAN, num_byzantine=1)
    round_ = shifted(court, rule, 0)
    right = challenge_chunk(round_, 0)
    assert right.arguments[3:] == (1, 4)  # of -8, 1, 4, 6
    for lo, hi in [(-8, 4), (1, 6), (1, 1), (4, 4), (2, 3), (4, 1), (-(2**255), 2**255 - 1)]:
        claim = changed(changed(right, 3, lo), 4, hi)
        assert court.refused(claim) == "dispute: wrong order statistics"
    assert court.convict(right) == "wrong aggregate"


@pytest.mark.parametrize("kind", [MEDIAN, TRIMMED_MEAN])
def test_wrong_order_statistics_never_convict(court: DisputeWorld, kind: int) -> None:
    rule = make_rule(kind=kind, num_byzantine=1 if kind == TRIMMED_MEAN else 0)
    round_ = court.commit(court.draft(rule=rule))
    right = challenge_chunk(round_, 0)
    for lo in (-8, 1, 4, 6):
        for hi in (-8, 1, 4, 6):
            expected = "dispute: wrong order statistics"
            if (lo, hi) == right.arguments[3:]:
                expected = "dispute: chunk is right"
            assert court.refused(changed(changed(right, 3, lo), 4, hi)) == expected


def test_another_rule_is_refused(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    right = challenge_chunk(round_, 0)
    words = right.arguments[1]
    for at in range(14):
        other = b"\1" * 32 if isinstance(words[at], bytes) else words[at] + 1
        claim = changed(right, 1, (*words[:at], other, *words[at + 1 :]))
        assert court.refused(claim) == "dispute: wrong rule"


def test_server_momentum_is_not_provable(court: DisputeWorld) -> None:
    rule = make_rule(server_momentum_q16=1)
    draft = court.draft(rule=make_rule())
    draft.rule = rule
    draft.new_model = draft.new_model + np.int32(1)
    round_ = court.commit(draft)
    assert find_faults(round_) == []
    assert court.refused(challenge_chunk(round_, 0)) == "dispute: rule not provable"


def test_lengths_must_be_exact(court: DisputeWorld) -> None:
    round_ = shifted(court, make_rule(), 0)
    right = challenge_chunk(round_, 0)
    for tail in (b"", right.tail[:-1], right.tail + b"\0", right.tail[64:], right.tail * 2):
        assert court.refused(replace(right, tail=tail)) == "dispute: wrong length"


@pytest.mark.parametrize("parameter", [5, 6, 2**255])
def test_parameters_end_at_the_dimension(court: DisputeWorld, parameter: int) -> None:
    round_ = shifted(court, make_rule(), 0)
    claim = changed(challenge_chunk(round_, 0), 2, parameter)
    assert court.refused(claim) == "dispute: index out of range"


def test_contributors_must_be_all_once_in_order(court: DisputeWorld) -> None:
    round_ = shifted(court, make_rule(), 0)
    right = challenge_chunk(round_, 0)
    depth = 2
    head, row = 2 * (32 * depth + 8), 128 + 32 * depth + 8
    rows = [right.tail[head + i * row : head + (i + 1) * row] for i in range(4)]
    end = right.tail[head + 4 * row :]
    for order in ([1, 0, 2, 3], [0, 1, 3, 2], [0, 0, 2, 3], [3, 2, 1, 0]):
        tail = right.tail[:head] + b"".join(rows[i] for i in order) + end
        assert court.refused(replace(right, tail=tail)) == "dispute: wrong contributors"


def test_any_changed_byte_is_refused(court: DisputeWorld) -> None:
    """Every byte of the rows counts, except the padding at the end."""
    round_ = shifted(court, make_rule(), 0)
    right = challenge_chunk(round_, 0)
    used = len(right.tail) - (1024 - 8)
    refusals = set()
    for at in range(0, used, 7):
        tail = bytearray(right.tail)
        tail[at] ^= 1
        refusals.add(court.referee.refusal(replace(right, tail=bytes(tail))))
    assert refusals == {"dispute: no such chunk", "dispute: wrong contributors"}


def test_proofs_of_another_round_are_refused(court: DisputeWorld) -> None:
    first = court.draft()
    one = court.commit(first)
    second = court.draft(number=2, parent=first)
    second.new_model = second.new_model + np.int32(1)
    two = court.commit(second)
    as_two = changed(challenge_chunk(one, 0), 0, 2)
    as_one = changed(challenge_chunk(two, 0), 0, 1)
    assert court.refused(as_two) == "dispute: no such chunk"
    assert court.refused(as_one) == "dispute: no such chunk"
    assert court.refused(changed(as_one, 0, 3)) == "dispute: wrong rule"
    assert court.convict(challenge_chunk(two, 0)) == "wrong aggregate"
    assert court.federation.status(1) == RoundStatus.SETTLED


def test_a_round_that_is_not_sealed_has_nothing_to_prove(court: DisputeWorld) -> None:
    draft = court.draft()
    round_ = draft.disputed()
    court.open(draft)
    assert court.refused(challenge_chunk(round_, 0)) == "dispute: round not sealed"


def test_a_final_round_is_final(court: DisputeWorld) -> None:
    round_ = shifted(court, make_rule(), 0)
    end = court.federation.round(1).finalizable_at
    assert end is not None
    court.wait_until(end)
    evidence = challenge_chunk(round_, 0)
    assert court.refused(evidence, at=end) == "round: window closed"


def test_the_last_second_of_the_window_counts(court: DisputeWorld) -> None:
    round_ = shifted(court, make_rule(), 0)
    end = court.federation.round(1).finalizable_at
    assert end is not None
    court.wait_until(end - 1)
    assert court.convict(challenge_chunk(round_, 0), at=end - 1) == "wrong aggregate"


def test_chunks_too_large_for_one_call_are_left_to_columns(court: DisputeWorld) -> None:
    rule = make_rule(chunk_values=257)
    other = DisputeWorld.create(agreed=terms(rule=rule))
    round_ = shifted(other, rule, 0)
    (fault,) = find_faults(round_)
    assert [move.function for move in moves_against(round_, fault)] == ["challenge_column"]
    with pytest.raises(ValueError, match="chunks of 257 values, expected at most 256"):
        challenge_chunk(round_, 0)
    evidence = Evidence("challenge_chunk", (1, rule_words(rule), 0, 0, 0), bytes(4096))
    assert other.refused(evidence) == "dispute: too large for one call"
    other.node.close()


@pytest.mark.parametrize("chunk_values", [1, 3, 5, 8, 256])
def test_every_shape_of_tree(chunk_values: int) -> None:
    rule = make_rule(chunk_values=chunk_values)
    other = DisputeWorld.create(agreed=terms(rule=rule))
    draft = other.draft(rule=rule)
    draft.new_model = draft.new_model.copy()
    draft.new_model[4] -= 1
    round_ = other.commit(draft)
    for parameter in range(4):
        assert other.refused(challenge_chunk(round_, parameter)) == "dispute: chunk is right"
    assert other.convict(challenge_chunk(round_, 4)) == "wrong aggregate"
    other.node.close()


def test_a_round_too_small_for_its_rule_is_no_matter_of_chunks(court: DisputeWorld) -> None:
    rule = make_rule(kind=TRIMMED_MEAN, num_byzantine=2)
    draft = court.draft(rule=make_rule(kind=MEDIAN))
    draft.rule = rule
    round_ = court.commit(draft)
    values = (1, rule_words(rule), 0, 0, 0)
    right = challenge_chunk(replace(round_, rule=make_rule(kind=MEDIAN)), 0)
    evidence = Evidence("challenge_chunk", values, right.tail)
    assert court.refused(evidence) == "dispute: too few contributors"
    (fault,) = find_faults(round_)
    (move,) = moves_against(round_, fault)
    assert isinstance(move, Evidence)
    assert court.convict(move) == "invalid rule"


@pytest.mark.slow
def test_a_direct_challenge_holds_512_contributors() -> None:
    many = accounts(513, first=10_000)
    rule = make_rule(dimension=1, chunk_values=1)
    base = np.array([7], np.int32)
    other = DisputeWorld.create(many, terms(base, rule))

    def round_of(n: int, number: int) -> DisputedRound:
        updates = [np.array([i], np.int32) for i in range(n)]
        draft = other.draft(
            updates,
            [1 + i % 9 for i in range(n)],
            rule=rule,
            base=base,
            number=number,
            members=many,
        )
        draft.new_model = draft.new_model + np.int32(1)
        return other.commit(draft, settled=False)

    evidence = challenge_chunk(round_of(512, 1), 0)
    assert other.convict(evidence) == "wrong aggregate"
    over = challenge_chunk(round_of(513, 2), 0)
    assert other.refused(over) == "dispute: too many for one call"
    other.node.close()


# --- another contract, another chain -----------------------------------------------------------


def test_signatures_and_leaves_of_another_federation_prove_nothing(court: DisputeWorld) -> None:
    other = DisputeWorld.create(agreed=replace(terms(), config_digest=bytes([9]) * 32))
    theirs = other.draft()
    theirs.new_model = theirs.new_model + np.int32(1)
    wrong = other.commit(theirs)
    court.commit(court.draft())
    evidence = challenge_chunk(wrong, 0)
    assert court.refused(evidence) == "dispute: no such chunk"
    assert other.convict(evidence) == "wrong aggregate"
    other.node.close()


# --- padding -----------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [1, -1, -(2**31)])
def test_values_behind_the_last_parameter_are_proven(court: DisputeWorld, extra: int) -> None:
    draft = court.draft()
    draft.new_model_root, proof = padded_tree(draft.new_model, layout_of(draft.rule), extra)
    round_ = court.commit(draft)
    assert court.convict(challenge_padding(round_, proof)) == "wrong padding"


def test_padding_is_of_the_committed_model(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    chunk = moves.model_chunk(round_, CaseKind.NEW_MODEL, 2)
    other = replace(chunk, chunk=chunk.chunk[:-1] + b"\1")
    refused = court.refused(moves.challenge_padding(round_, other))
    assert refused == "dispute: no such chunk"


def test_right_padding_is_not_convicted(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    tree = round_.vector_tree(round_.committed.new_model_root, round_.model(CaseKind.NEW_MODEL))
    assert court.refused(challenge_padding(round_, tree.proof(2))) == "dispute: padding is right"
    # Another chunk is not the last one.
    assert court.refused(challenge_padding(round_, tree.proof(0))).startswith("dispute: ")


# --- what is no proof --------------------------------------------------------------------------


def test_other_calls_are_no_proofs(court: DisputeWorld) -> None:
    court.commit(court.draft())
    unknown = Call("unknown", b"\1\2\3\4", Wei(0), 300_000, "unknown", "referee")
    assert court.reason(WATCHER, unknown) == ""
    for name in referee_calls.EXAMINERS:
        data = load_artifact(name).functions["federation"].encode_call(())
        assert court.reason(WATCHER, replace(unknown, data=data)) == "dispute: not a proof"


def test_ether_cannot_come_along(court: DisputeWorld) -> None:
    round_ = shifted(court, make_rule(), 0)
    call = replace(referee_calls.convict(challenge_chunk(round_, 0)), value_wei=1)
    assert court.reason(WATCHER, call) == ""


def test_too_little_gas_changes_nothing(court: DisputeWorld) -> None:
    """Wherever it runs out, in an examiner or behind it."""
    round_ = shifted(court, make_rule(), 0)
    call = referee_calls.convict(challenge_chunk(round_, 0))
    for gas in range(80_000, 260_000, 15_000):
        snapshot = court.node.snapshot()
        try:
            used = court.send(WATCHER, replace(call, gas_limit=gas)).gas_used
            assert used <= gas
            assert court.federation.status(1) == RoundStatus.VOID
        except TransactionRevertedError:
            assert court.federation.status(1) == RoundStatus.SETTLED
            assert court.bond == BOND
        court.node.revert(snapshot)
        court.forget()
