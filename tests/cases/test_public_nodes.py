"""Answers of nodes that are not ours: errors of the chain, never of the program."""

from typing import Any

import pytest
from federation_world import CONTRIBUTORS, TERMS
from scripted_node import Answer, ScriptedFederation, refusal, result

from clients.daemon.chain import WrongFederationError, check_federation
from contracts.binding.reader import FederationReader
from coordinator.ledger.contract_ledger import Membership
from coordinator.protocol.errors import ChainUnavailableError, LedgerError

STAKE = 1_000
REVERTED = "0x08c379a0" + "20".zfill(64) + "04".zfill(64)


def still_fails(raises: Any, *, reason: str) -> pytest.MarkDecorator:
    return pytest.mark.xfail(strict=True, raises=raises, reason=reason)


NOT_DECODED = still_fails((TypeError, ValueError), reason="a result's form is not checked")
NOT_REFUSED = still_fails(pytest.fail.Exception, reason="only 0x counts as no code")


class Agreed:
    """As much of an agreement as the check of a contract reads."""

    name = "scripted"
    chain_id = 1337
    digest = TERMS.config_digest
    initial_model_root = TERMS.initial_model_root.hex()

    def __init__(self, contract: str) -> None:
        self.domain = self
        self.verifying_contract = contract


@still_fails(LedgerError, reason="a refusal ends the wait")
def test_a_receipt_that_is_still_being_indexed_is_waited_for(scripted: ScriptedFederation) -> None:
    indexing = refusal(-32000, "transaction indexing is in progress")
    seen = []

    def script(method: str, _parameters: Any) -> Answer | None:
        if method == "eth_getTransactionReceipt" and len(seen) < 2:
            seen.append(method)
            return indexing
        return None

    scripted.provider.script = script
    scripted.federation.join(CONTRIBUTORS[0], STAKE)
    scripted.provider.script = lambda _method, _parameters: None
    assert scripted.federation.account(CONTRIBUTORS[0].address).bond_wei == STAKE


@still_fails(AssertionError, reason="no block is read again")
def test_members_whose_logs_came_late_are_read_again(scripted: ScriptedFederation) -> None:
    """The backend that answers for logs may be a block behind the one that answers for blocks."""
    federation, provider = scripted.federation, scripted.provider
    membership = Membership(federation)
    federation.join(CONTRIBUTORS[0], STAKE)
    assert len(membership.stakes_at(1)) == 1
    federation.join(CONTRIBUTORS[1], STAKE)

    def lagging(method: str, parameters: Any) -> Answer | None:
        if method != "eth_getLogs":
            return None
        span = {**parameters[0], "toBlock": hex(int(parameters[0]["toBlock"], 16) - 1)}
        if int(span["fromBlock"], 16) > int(span["toBlock"], 16):
            return result([])
        return provider.chain.make_request(method, [span])  # type: ignore[arg-type,return-value]

    provider.script = lagging
    membership.stakes_at(2)
    provider.script = lambda _method, _parameters: None
    federation.join(CONTRIBUTORS[2], STAKE)
    assert membership.stakes_at(3) == federation.stakes_at(3)


@still_fails(LedgerError, reason="spans stay as they are")
def test_logs_are_asked_for_in_smaller_spans_after_a_range_error(
    scripted: ScriptedFederation,
) -> None:
    for account in CONTRIBUTORS[:3]:
        scripted.federation.join(account, STAKE)
    expected = list(scripted.federation.events())

    def limited(method: str, parameters: Any) -> Answer | None:
        if method != "eth_getLogs":
            return None
        first, last = (int(parameters[0][name], 16) for name in ("fromBlock", "toBlock"))
        return refusal(-32602, "range exceeds limit of 2") if last - first > 1 else None

    scripted.provider.script = limited
    assert list(scripted.federation.events()) == expected


@still_fails(AssertionError, reason="reading begins at block 0")
def test_reading_begins_at_the_block_of_deployment(scripted: ScriptedFederation) -> None:
    """A chain of seven million blocks, and a contract in its last thousand."""
    provider, head = scripted.provider, 7_000_000

    def tall(method: str, parameters: Any) -> Answer | None:
        if method == "eth_getBlockByNumber" and parameters[0] == "latest":
            block = provider.chain.make_request(method, parameters)["result"]
            return result({**block, "number": hex(head)})  # type: ignore[dict-item]
        return result([]) if method == "eth_getLogs" else None

    provider.script = tall
    provider.methods.clear()
    membership = Membership(scripted.federation)
    membership.stakes_at(1)
    assert provider.methods.count("eth_getLogs") < 10


@pytest.mark.parametrize(
    "answer",
    [
        refusal(-32005, "limit exceeded"),
        refusal(429, "the app has exceeded its compute units per second"),
        refusal(-32000, "header not found"),
        refusal(-32603, "Internal error"),
        refusal(-32000, "missing trie node"),
    ],
    ids=lambda answer: answer["error"]["message"].replace(" ", "-"),
)
@still_fails(pytest.fail.Exception, reason="any refusal counts as another federation")
def test_a_node_with_no_time_says_nothing_of_the_federation(
    scripted: ScriptedFederation, answer: Answer
) -> None:
    agreed: Any = Agreed(scripted.federation.address)
    check_federation(scripted.federation.rpc, agreed)
    scripted.provider.answers("eth_call", answer)
    try:
        check_federation(scripted.federation.rpc, agreed)
    except WrongFederationError as error:
        pytest.fail(f"taken for another federation: {error}", pytrace=False)
    except ChainUnavailableError:
        return
    pytest.fail("the refusal was not noticed")


@pytest.mark.parametrize(
    "answer",
    [
        refusal(3, "execution reverted: nope", data=REVERTED + b"nope".hex().ljust(64, "0")),
        pytest.param(refusal(3, "execution reverted", data="0x8c379"), marks=NOT_DECODED),
        refusal(-32015, "VM execution error.", data="Reverted " + REVERTED),
        pytest.param(refusal(3, "execution reverted", data="0xzz"), marks=NOT_DECODED),
        refusal(3, "execution reverted", data=REVERTED + "ff".ljust(64, "f")),
        refusal(-32000, "execution reverted"),
        {"jsonrpc": "2.0", "id": 1, "error": "refused"},
        result("0x"),
        pytest.param(result(None), marks=NOT_DECODED),
        pytest.param(result("0x1"), marks=NOT_DECODED),
    ],
    ids=[
        "reason", "odd-digits", "parity", "not-hexadecimal", "not-utf-8", "no-data", "text",
        "empty", "null", "one-digit",
    ],
)  # fmt: skip
def test_a_call_that_is_answered_oddly(scripted: ScriptedFederation, answer: Answer) -> None:
    scripted.provider.answers("eth_call", answer)
    with pytest.raises(LedgerError):
        scripted.federation.head()


@still_fails((TypeError, ValueError), reason="a quantity is not checked")
@pytest.mark.parametrize("value", ["0x", 5, None, "x"])
def test_a_quantity_that_is_none(scripted: ScriptedFederation, value: object) -> None:
    scripted.provider.answers("eth_getTransactionCount", result(value))
    with pytest.raises(LedgerError):
        scripted.federation.rpc.quantity(
            "eth_getTransactionCount", CONTRIBUTORS[0].address, "latest"
        )


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        "x",
        {"number": None, "hash": None, "timestamp": "0x1", "baseFeePerGas": "0x1"},
        {"number": "0x1", "hash": "0x" + "11" * 32, "timestamp": "0x1"},
    ],
    ids=["empty", "list", "text", "pending", "no-base-fee"],
)
@still_fails((KeyError, TypeError), reason="fields are not checked")
def test_a_block_that_is_none(scripted: ScriptedFederation, value: object) -> None:
    scripted.provider.answers("eth_getBlockByNumber", result(value))
    with pytest.raises(LedgerError):
        scripted.federation.block()


@pytest.mark.parametrize(
    "value", ["0x", *(pytest.param(value, marks=NOT_REFUSED) for value in ("0x0", "", None))]
)
def test_code_that_is_none(scripted: ScriptedFederation, value: object) -> None:
    scripted.provider.answers("eth_getCode", result(value))
    with pytest.raises(LedgerError):
        FederationReader(scripted.federation.rpc, scripted.federation.address)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(result(None), marks=NOT_DECODED),
        refusal(-32005, "query returned more than 10000 results"),
        refusal(4444, "pruned history unavailable"),
        refusal(429, "compute units per second exceeded"),
    ],
    ids=["null", "too-many", "pruned", "busy"],
)
def test_logs_that_are_refused(scripted: ScriptedFederation, answer: Answer) -> None:
    scripted.provider.answers("eth_getLogs", answer)
    with pytest.raises(LedgerError):
        list(scripted.federation.events())
