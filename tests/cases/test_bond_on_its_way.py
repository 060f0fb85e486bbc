"""The participant's daemon, whose bond is on its way or was just mined."""

from pathlib import Path
from typing import Any

import pytest
from federation_world import CONTRIBUTORS
from scripted_node import Answer, ScriptedFederation

from clients.daemon.account_manager import AccountManager
from contracts.binding import calls
from contracts.binding.transactions import TransactionWaitingError
from contracts.node.rpc import Dispatcher
from coordinator.protocol.errors import ChainUnavailableError
from coordinator.settings.participant import ParticipantRewards, ParticipantStake

BOB = CONTRIBUTORS[0]


@pytest.fixture
def manager(scripted: ScriptedFederation, tmp_path: Path) -> AccountManager:
    return AccountManager(
        scripted.federation,
        BOB,
        ParticipantStake(join=True),
        ParticipantRewards(),
        tmp_path / "bond.json",
    )


def sent(scripted: ScriptedFederation) -> int:
    return scripted.provider.methods.count("eth_sendRawTransaction")


def test_what_waits_is_not_sent_again(
    scripted: ScriptedFederation, manager: AccountManager
) -> None:
    count = sent(scripted)
    chain = scripted.provider.chain
    chain.dispatcher = Dispatcher(scripted.node, dev=True, mining="manual")
    scripted.federation.transactor._receipt_timeout_s = 0.0
    with pytest.raises(ChainUnavailableError, match=r"join .*not mined"):
        manager.ensure_bond()
    with pytest.raises(TransactionWaitingError, match=f"1 transaction.* of {BOB.address}"):
        manager.ensure_bond()
    assert sent(scripted) == count + 1
    chain.make_request("evm_mine", [])  # type: ignore[arg-type]
    least = scripted.federation.terms.min_stake_wei
    assert manager.ensure_bond() == least
    assert sent(scripted) == count + 1


def test_what_was_mined_between_two_looks_is_seen(
    scripted: ScriptedFederation, manager: AccountManager
) -> None:
    """The account is looked at, and then its transaction is mined, and then none waits."""
    before = scripted.federation.block().number
    least = scripted.federation.terms.min_stake_wei
    scripted.federation.join(BOB, least)
    account = scripted.federation._functions["account"].selector.hex()
    left = [before]

    def first_look_is_old(method: str, parameters: Any) -> Answer | None:
        if method == "eth_call" and left and parameters[0]["data"][2:10] == account:
            return scripted.provider.chain.make_request(  # type: ignore[return-value]
                method,  # type: ignore[arg-type]
                [parameters[0], hex(left.pop())],
            )
        return None

    scripted.provider.script = first_look_is_old
    count = sent(scripted)
    assert manager.ensure_bond() == least
    assert (left, sent(scripted)) == ([], count)


def test_a_transaction_in_between_holds_the_bond_back(
    scripted: ScriptedFederation, manager: AccountManager
) -> None:
    transactor, to = scripted.federation.transactor, scripted.federation.address
    nonce = transactor.idle_nonce(BOB.address)
    manager.ensure_bond()
    with pytest.raises(
        TransactionWaitingError, match=f"another transaction meanwhile .number {nonce}"
    ):
        transactor.send_as(BOB, calls.join(1), to, nonce)
