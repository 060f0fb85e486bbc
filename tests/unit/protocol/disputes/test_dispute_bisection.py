"""Finding the false step: how many demands, and which proof is left."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.protocol.disputes import Column, NextMove, next_move
from coordinator.protocol.disputes.cases import Entry
from coordinator.protocol.disputes.columns import ZERO


def counting(n: int) -> Column:
    return Column(tuple((i, 0, 0, 0, 0) for i in range(n + 1)))


def play(right: Column, answered: Column) -> tuple[NextMove, list[int]]:
    """Demand until a proof is left; return it and what was demanded."""
    known: dict[int, Entry] = {}
    while (move := next_move(right, answered.root, known)).outcome == "demand":
        assert move.index not in known
        known[move.index] = answered.entries[move.index]
    return move, list(known)


def test_a_right_column_leaves_the_last_entry() -> None:
    assert play(counting(8), counting(8)) == (NextMove("last", 8), [])


def test_a_right_end_leaves_the_last_entry() -> None:
    """A false entry in the middle that nothing is built on: the end is still right."""
    right = counting(8)
    false = replace(right, entries=(*right.entries[:4], (99, 0, 0, 0, 0), *right.entries[5:]))
    assert play(right, false) == (NextMove("last", 8), [8])


@pytest.mark.parametrize("at", range(9))
def test_the_first_false_entry_is_found(at: int) -> None:
    right = counting(8)
    shifted = tuple((e[0] + 1, *e[1:]) for e in right.entries[at:])
    move, demanded = play(right, Column((*right.entries[:at], *shifted)))
    assert move == (NextMove("first", 0) if at == 0 else NextMove("step", at - 1))
    assert len(demanded) <= 5  # the last, log2(8) halvings, and the first where it is needed


@given(n=st.integers(1, 3000), data=st.data())
def test_demands_are_logarithmic(n: int, data: st.DataObject) -> None:
    right = counting(n)
    at = data.draw(st.integers(0, n))
    shifted = tuple((e[0] - 5, *e[1:]) for e in right.entries[at:])
    false = Column((*right.entries[:at], *shifted))
    move, demanded = play(right, false)
    assert len(demanded) <= 2 + n.bit_length()
    if move.outcome == "step":
        assert false.entries[move.index] == right.entries[move.index]
        assert false.entries[move.index + 1] != right.entries[move.index + 1]
        assert move.index in demanded
        assert move.index + 1 in demanded
    else:
        assert move == NextMove("first", 0)
        assert false.entries[0] != ZERO


@given(n=st.integers(1, 40), data=st.data())
def test_whatever_is_false_a_proof_is_left(n: int, data: st.DataObject) -> None:
    """Any entries at all: the move names a place where the column contradicts itself."""
    right = counting(n)
    words = data.draw(st.lists(st.integers(-1, 3), min_size=n + 1, max_size=n + 1))
    false = Column(tuple((e[0] + w, *e[1:]) for e, w in zip(right.entries, words, strict=True)))
    move, _ = play(right, false)
    steps = [false.entries[i + 1][0] - false.entries[i][0] for i in range(n)]
    if move.outcome == "first":
        assert false.entries[0] != ZERO
    elif move.outcome == "step":
        assert steps[move.index] != 1
    else:
        assert false.entries[n] == right.entries[n]
