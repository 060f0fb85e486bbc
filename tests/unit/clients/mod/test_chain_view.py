"""Views of the chain: facts survive the trip between processes; a cache asks once."""

from dataclasses import replace

import pytest

from clients.mod.chain_view import (
    CachedChainView,
    StaticChainView,
    chain_round_from_json,
    chain_round_json,
)
from coordinator.protocol.errors import ChainUnavailableError
from coordinator.protocol.round.chain_round import ChainRound, RoundStatus
from coordinator.protocol.types import Address, RoundId, SigningDomain

DOMAIN = SigningDomain(1, Address("0x" + "11" * 20))
OPEN = ChainRound(RoundId(1), RoundStatus.OPEN, b"\1" * 32, b"\2" * 32, deadline=99)
SEALED = replace(OPEN, status=RoundStatus.SEALED, new_model_root=b"\3" * 32)


class Counting:
    domain = DOMAIN

    def __init__(self, *answers: ChainRound) -> None:
        self.answers, self.asked = list(answers), 0

    def round(self, round_id: RoundId) -> ChainRound:
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


@pytest.mark.parametrize("facts", [OPEN, SEALED])
def test_facts_survive_json(facts):
    assert chain_round_from_json(chain_round_json(facts)) == facts


def test_a_status_nobody_knows_is_refused():
    with pytest.raises(ChainUnavailableError, match="'ajar'"):
        chain_round_from_json({**chain_round_json(OPEN), "status": "ajar"})


def test_a_round_nobody_opened_has_no_facts():
    view = StaticChainView(DOMAIN, {RoundId(1): OPEN})
    assert view.domain == DOMAIN
    assert view.round(RoundId(1)) == OPEN
    assert view.round(RoundId(2)).status is RoundStatus.NONE


def test_the_cache_asks_once_a_round_and_again_when_told():
    counting = Counting(OPEN, SEALED)
    view = CachedChainView(counting)
    assert [view.round(RoundId(1)) for _ in range(5)] == [OPEN] * 5
    assert counting.asked == 1
    assert view.refreshed(RoundId(1)) == SEALED
    assert view.round(RoundId(1)) == SEALED
    assert counting.asked == 2


def test_a_round_that_is_not_there_yet_is_asked_for_again():
    counting = Counting(ChainRound(RoundId(1), RoundStatus.NONE), OPEN)
    view = CachedChainView(counting)
    assert view.round(RoundId(1)).status is RoundStatus.NONE
    assert view.round(RoundId(1)) == OPEN


def test_old_rounds_are_forgotten():
    counting = Counting(OPEN)
    view = CachedChainView(counting)
    for number in range(1, 50):
        view.round(RoundId(number))
    assert len(view._known) == 2
