"""The contract's round record: its status numbers, their words, and what a status allows."""

from dataclasses import replace

import pytest

from coordinator.protocol.round.chain_round import NO_ROOT, ChainRound, RoundStatus
from coordinator.protocol.types import RoundId

WORDS = ["none", "open", "sealed", "settled", "final", "void"]


def test_numbers_and_words_are_the_contracts() -> None:
    assert [(status.value, status.word) for status in RoundStatus] == list(enumerate(WORDS))
    assert [RoundStatus.from_word(word) for word in WORDS] == list(RoundStatus)


def test_a_word_that_is_no_status_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError, match="'ajar', expected one of none, open, sealed"):
        RoundStatus.from_word("ajar")


def test_what_a_status_allows() -> None:
    assert [s.word for s in RoundStatus if s.has_result] == ["sealed", "settled", "final"]
    assert [s.word for s in RoundStatus if s.is_disputable] == ["sealed", "settled"]


def test_a_round_that_never_opened_holds_nothing() -> None:
    nothing = ChainRound(RoundId(3), RoundStatus.NONE)
    assert nothing.new_model_root == nothing.commitments_root == NO_ROOT == bytes(32)
    assert not nothing.is_settled
    assert not nothing.can_be_final(2**63)


def test_a_settled_round_can_be_final_from_its_second_on() -> None:
    settled = ChainRound(RoundId(1), RoundStatus.SETTLED, settled_at=90, finalizable_at=100)
    assert settled.is_settled
    assert [settled.can_be_final(now) for now in (99, 100, 101)] == [False, True, True]
    assert replace(settled, status=RoundStatus.VOID).is_settled
