"""Every external function against every kind of caller (invariant 16)."""

import pytest
from federation_roles import CALLERS, DOMAIN, MATRIX, NOT_COORDINATOR
from federation_world import COORDINATOR, STRANGER, World

from contracts.binding import calls
from contracts.binding.artifacts import load_artifact
from contracts.binding.calls import Call
from coordinator.protocol.errors import TransactionRevertedError


def test_the_matrix_covers_every_function_that_changes_state() -> None:
    abi = load_artifact("federation").abi
    changing = {
        entry["name"]
        for entry in abi
        if entry["type"] == "function" and entry["stateMutability"] in ("nonpayable", "payable")
    }
    assert changing == set(MATRIX)


def test_the_matrix_is_about_this_federation(world: World) -> None:
    assert world.federation.domain == DOMAIN


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("function", MATRIX)
def test_who_may_call_what(world: World, function: str, caller: str) -> None:
    call, answers = MATRIX[function]
    world.open(1)
    world.wait_until(world.now + 6)
    account, expected = CALLERS[caller], answers[caller]
    if expected:
        assert world.reason(account, call) == expected
    else:
        assert world.send(account, call).events


@pytest.mark.parametrize("function", MATRIX)
def test_only_what_takes_money_takes_ether(world: World, function: str) -> None:
    call, answers = MATRIX[function]
    entry = next(e for e in load_artifact("federation").abi if e.get("name") == function)
    if entry["stateMutability"] == "payable":
        assert call.value_wei > 0
        return
    world.open(1)
    world.wait_until(world.now + 6)
    allowed = [c for c, answer in answers.items() if not answer] or ["coordinator"]
    with_ether = Call(function, call.data, 1, call.gas_limit, function)
    with pytest.raises(TransactionRevertedError) as caught:
        world.send(CALLERS[allowed[0]], with_ether)
    assert caught.value.reason == ""


def test_the_referee_itself_may_judge_but_not_run_rounds(world: World) -> None:
    """A contract as a caller: the executor of the re-entry tests, named referee."""
    executor = world.deploy("refuser")
    world.send(COORDINATOR, calls.set_referee(executor))
    world.open(1)
    address = world.federation.address

    def ask(call: Call) -> str:
        try:
            world.invoke(STRANGER, "refuser", executor, "execute", address, call.data)
        except TransactionRevertedError as reverted:
            return reverted.reason
        return ""

    for function in ("open_round", "commit_updates", "seal_round", "settle_round", "void_round"):
        assert ask(MATRIX[function][0]) == NOT_COORDINATOR
    for function in ("bond_coordinator", "unbond_coordinator", "set_referee"):
        assert ask(MATRIX[function][0]) == NOT_COORDINATOR
    assert ask(MATRIX["hold_round"][0]) == "round: not live"
    assert ask(MATRIX["convict_coordinator"][0]) == ""
    assert world.federation.status(1) == 5
