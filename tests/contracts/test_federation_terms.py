from dataclasses import replace

import pytest
from federation_world import COORDINATOR, TERMS, ZERO, World

from contracts.binding.events import FederationCreated
from coordinator.protocol.errors import LedgerError, TransactionRevertedError


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"coordinator": ZERO}, "terms: no coordinator"),
        ({"initial_model_root": bytes(32)}, "terms: no initial model"),
        ({"min_stake_wei": 0}, "terms: zero stake"),
        ({"min_coordinator_bond_wei": 0}, "terms: zero stake"),
        ({"min_stake_wei": 2**96}, "terms: amount too large"),
        ({"min_coordinator_bond_wei": 2**96}, "terms: amount too large"),
        ({"round_budget_wei": 2**96}, "terms: amount too large"),
        ({"min_contributors": 0}, "terms: no contributors"),
        ({"unbonding_period_s": 2**32}, "terms: period too long"),
        ({"challenge_window_s": 400}, "terms: unbonding too short"),
        ({"challenge_window_s": 2**255}, "terms: unbonding too short"),
        ({"challenge_window_s": 395}, "terms: unbonding too short"),  # and 5 to be open
        ({"min_open_s": 2**255}, "terms: unbonding too short"),
        ({"contributor_slash_bps": 10_001}, "terms: slash over 100%"),
        ({"coordinator_slash_bps": 10_001}, "terms: slash over 100%"),
    ],
)
def test_contradicting_terms_are_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(TransactionRevertedError) as caught:
        World.create(replace(TERMS, **changes))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"min_stake_wei": 1, "min_coordinator_bond_wei": 1, "min_contributors": 1},
        {"round_budget_wei": 0, "config_digest": bytes(32)},
        {"round_budget_wei": 2**96 - 1, "min_stake_wei": 2**96 - 1},
        {"challenge_window_s": 0, "min_open_s": 0, "unbonding_period_s": 1},
        {"challenge_window_s": 394},
        {"unbonding_period_s": 2**32 - 1},
        {"contributor_slash_bps": 10_000, "coordinator_slash_bps": 10_000},
        {"contributor_slash_bps": 0, "coordinator_slash_bps": 0},
    ],
)
def test_terms_are_readable_and_announced(changes: dict[str, object]) -> None:
    terms = replace(TERMS, **changes)
    world = World.create(terms)
    assert world.federation.terms == terms
    (event,) = world.federation.events()
    assert event == FederationCreated(event.place, terms)


def test_a_federation_takes_no_ether_at_birth() -> None:
    from contracts.binding.artifacts import load_artifact
    from contracts.binding.calls import Call

    world = World.create()
    transactor = world.federation.transactor
    code = load_artifact("federation").creation_code([TERMS.to_abi()])
    call = Call("deploy", code, 1, 8_000_000, "deploy with ether")
    with pytest.raises(TransactionRevertedError):
        transactor.send(transactor.prepare(COORDINATOR, call, None))


def test_an_address_without_code_is_no_federation() -> None:
    world = World.create()
    with pytest.raises(LedgerError, match=f"no contract at {COORDINATOR.address}"):
        type(world.federation)(world.w3, COORDINATOR.address)
