"""Answers of nodes that are not ours: errors of the chain, never of the program."""

from typing import Any

import pytest
from federation_world import CONTRIBUTORS, ETHER, EVERYONE, TERMS
from scripted_node import Answer, ScriptedFederation, refusal, result

from clients.daemon.chain import WrongFederationError, check_federation
from contracts.binding import rpc
from contracts.binding.events import Joined
from contracts.binding.log_reader import LATE_BLOCKS, EventFollower
from contracts.binding.reader import FederationReader
from contracts.node.genesis import GenesisConfig
from contracts.node.node import EmbeddedNode
from coordinator.ledger.contract_ledger import Membership
from coordinator.protocol.errors import (
    ChainUnavailableError,
    LedgerError,
    TransactionRevertedError,
)
from coordinator.protocol.types import RoundId

STAKE = 1_000
REVERTED = "0x08c379a0" + "20".zfill(64) + "04".zfill(64)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask a refusal that passes again at once, and not for long."""
    monkeypatch.setattr(rpc.Rpc, "patience_s", 0.1)
    monkeypatch.setattr(rpc, "_FIRST_PAUSE_S", 0.01)


class Agreed:
    """As much of an agreement as the check of a contract reads."""

    name = "scripted"
    chain_id = 1337
    digest = TERMS.config_digest
    initial_model_root = TERMS.initial_model_root.hex()

    def __init__(self, contract: str) -> None:
        self.domain = self
        self.verifying_contract = contract


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
        refusal(3, "execution reverted", data="0x8c379"),
        refusal(-32015, "VM execution error.", data="Reverted " + REVERTED),
        refusal(3, "execution reverted", data="0xzz"),
        refusal(3, "execution reverted", data=REVERTED + "ff".ljust(64, "f")),
        refusal(-32000, "execution reverted"),
        {"jsonrpc": "2.0", "id": 1, "error": "refused"},
        result("0x"),
        result(None),
        result("0x1"),
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
def test_a_block_that_is_none(scripted: ScriptedFederation, value: object) -> None:
    scripted.provider.answers("eth_getBlockByNumber", result(value))
    with pytest.raises(LedgerError):
        scripted.federation.block()


@pytest.mark.parametrize("value", ["0x", "0x0", "", None])
def test_code_that_is_none(scripted: ScriptedFederation, value: object) -> None:
    scripted.provider.answers("eth_getCode", result(value))
    with pytest.raises(LedgerError):
        FederationReader(scripted.federation.rpc, scripted.federation.address)


@pytest.mark.parametrize(
    "answer",
    [
        result(None),
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


BUSY = refusal(429, "compute units per second exceeded")


@pytest.mark.parametrize(
    "answer",
    [BUSY, refusal(-32000, "header not found"), refusal(-32603, "Internal error")],
    ids=["busy", "no-header", "internal"],
)
def test_a_refusal_that_passes_is_asked_again(scripted: ScriptedFederation, answer: Answer) -> None:
    expected = scripted.federation.head()
    left = [answer] * 3
    scripted.provider.script = lambda method, _: (
        left.pop() if left and method == "eth_call" else None
    )
    assert scripted.federation.head() == expected
    assert not left


@pytest.mark.parametrize(
    "answer",
    [
        refusal(-32601, "the method eth_call does not exist"),
        refusal(-32603, "eth_call is not supported"),
        refusal(-32000, "unauthorized"),
    ],
    ids=["no-method", "not-supported", "unauthorised"],
)
def test_a_refusal_that_lasts_is_asked_once_and_says_nothing_of_the_federation(
    scripted: ScriptedFederation, answer: Answer
) -> None:
    agreed: Any = Agreed(scripted.federation.address)
    scripted.provider.answers("eth_call", answer)
    scripted.provider.methods.clear()
    with pytest.raises(LedgerError, match=answer["error"]["message"]) as caught:
        check_federation(scripted.federation.rpc, agreed)
    assert not isinstance(caught.value, WrongFederationError | ChainUnavailableError)
    assert scripted.provider.methods.count("eth_call") == 1


@pytest.mark.parametrize("answer", [result(None), result("0x1"), result({})])
def test_an_odd_answer_says_nothing_of_the_federation(
    scripted: ScriptedFederation, answer: Answer
) -> None:
    agreed: Any = Agreed(scripted.federation.address)
    scripted.provider.answers("eth_call", answer)
    with pytest.raises(ChainUnavailableError, match="eth_call answered"):
        check_federation(scripted.federation.rpc, agreed)


def test_a_backend_that_does_not_have_the_contract_yet_says_nothing_of_it(
    scripted: ScriptedFederation,
) -> None:
    agreed: Any = Agreed(scripted.federation.address)
    scripted.provider.answers("eth_call", result("0x"))
    with pytest.raises(LedgerError, match=r"terms of the contract .* is answered with nothing"):
        check_federation(scripted.federation.rpc, agreed)


def test_an_odd_answer_is_named_with_what_was_expected(scripted: ScriptedFederation) -> None:
    scripted.provider.answers("eth_getBlockByNumber", result({"number": "0x1", "hash": "0x12"}))
    with pytest.raises(
        ChainUnavailableError,
        match=r"^node http://scripted: eth_getBlockByNumber answered hash = '0x12', expected 32",
    ):
        scripted.federation.block()


@pytest.mark.parametrize("answer", [[], "x", None, {"jsonrpc": "2.0", "id": 1}])
def test_what_is_no_answer_at_all(scripted: ScriptedFederation, answer: Any) -> None:
    scripted.provider.make_request = lambda _method, _parameters: answer  # type: ignore[method-assign]
    with pytest.raises(ChainUnavailableError, match="eth_call answered"):
        scripted.federation.head()


@pytest.mark.parametrize(
    "change",
    [
        {"status": None}, {"status": "0x"}, {"gasUsed": 21_000}, {"blockHash": "0x12"},
        {"logs": None}, {"logs": [None]}, {"logs": [{"topics": ["0x1"]}]}, {"blockNumber": None},
    ],
    ids=str,
)  # fmt: skip
def test_a_receipt_that_is_none_is_waited_for(
    scripted: ScriptedFederation, change: dict[str, Any]
) -> None:
    """The transaction is mined whatever one backend answers."""
    left = [change] * 2

    def script(method: str, parameters: Any) -> Answer | None:
        if method != "eth_getTransactionReceipt" or not left:
            return None
        found: Any = scripted.provider.chain.make_request(method, parameters)  # type: ignore[arg-type]
        return result({**found["result"], **left.pop()})

    scripted.provider.script = script
    assert scripted.federation.join(CONTRIBUTORS[0], STAKE).events
    assert not left


def test_a_receipt_that_never_comes_is_no_refusal(scripted: ScriptedFederation) -> None:
    scripted.federation.transactor._receipt_timeout_s = 0.2
    scripted.provider.answers("eth_getTransactionReceipt", BUSY)
    with pytest.raises(ChainUnavailableError, match=r"join .*not mined .*compute units"):
        scripted.federation.join(CONTRIBUTORS[0], STAKE)


@pytest.mark.parametrize("takes_it", [True, False])
def test_a_transaction_whose_sending_was_refused_in_passing_is_sent_once(
    scripted: ScriptedFederation, takes_it: bool
) -> None:
    """The node may have taken it before it said that it has no time."""
    left = [BUSY] * 2

    def script(method: str, parameters: Any) -> Answer | None:
        if method != "eth_sendRawTransaction" or not left:
            return None
        if takes_it and len(left) == 2:
            scripted.provider.chain.make_request(method, parameters)  # type: ignore[arg-type]
        return left.pop()

    scripted.provider.script = script
    scripted.federation.join(CONTRIBUTORS[0], STAKE)
    assert scripted.federation.account(CONTRIBUTORS[0].address).bond_wei == STAKE


def test_a_revert_whose_reason_cannot_be_had_is_a_revert(scripted: ScriptedFederation) -> None:
    """A node without old states does not run the transaction again."""
    scripted.provider.answers("eth_call", refusal(-32000, "missing trie node"))
    with pytest.raises(TransactionRevertedError, match=r"leave .* no reason given"):
        scripted.federation.leave(CONTRIBUTORS[0])


def test_spans_grow_again(scripted: ScriptedFederation) -> None:
    for account in CONTRIBUTORS[:3]:
        scripted.federation.join(account, STAKE)
    logs = scripted.federation._logs
    logs.span_blocks, logs._was_refused = 1, True
    for _ in range(20):
        list(scripted.federation.events())
    assert logs.span_blocks > 4


def test_a_single_block_that_is_refused_is_an_error(scripted: ScriptedFederation) -> None:
    scripted.provider.answers(
        "eth_getLogs", refusal(-32005, "query returned more than 10000 results")
    )
    with pytest.raises(LedgerError, match="more than 10000 results"):
        list(scripted.federation.events(1, 1))


@pytest.mark.parametrize("knows_old_states", [True, False])
def test_the_block_of_deployment_is_found(knows_old_states: bool) -> None:
    alloc = {account.address: 100 * ETHER for account in EVERYONE}
    with EmbeddedNode.create_or_open(None, GenesisConfig(alloc=alloc)) as node:
        for _ in range(9):
            node.mine([])
        federation = ScriptedFederation(node).federation
        deployed = node.head_number
        for _ in range(9):
            node.mine([])
        provider: Any = federation.rpc.provider
        if not knows_old_states:
            provider.script = lambda method, parameters: (
                refusal(-32000, "missing trie node")
                if method == "eth_getCode" and parameters[1] != "latest"
                else None
            )
        provider.methods.clear()
        assert federation.first_block == deployed == 10
        assert provider.methods.count("eth_getLogs") == 1


@pytest.mark.parametrize("field", ["topics", "data", "blockNumber", "transactionHash"])
@pytest.mark.parametrize("value", [None, "0x1", 7, ["0x12"]], ids=str)
def test_a_log_that_is_none(scripted: ScriptedFederation, field: str, value: Any) -> None:
    found: Any = scripted.provider.chain.make_request(
        "eth_getLogs",  # type: ignore[arg-type]
        [{"fromBlock": "0x0", "toBlock": "latest"}],
    )
    log = found["result"][0]
    if field == "blockNumber" and value == "0x1":
        value = "1"
    scripted.provider.answers("eth_getLogs", result([{**log, field: value}]))
    with pytest.raises(
        LedgerError, match=f"eth_getLogs.* answered .*{field if field != 'topics' else ''}"
    ):
        list(scripted.federation.events())


def test_a_status_that_no_round_has(scripted: ScriptedFederation) -> None:
    scripted.provider.answers("eth_call", result("0x" + "9".zfill(64)))
    with pytest.raises(LedgerError, match="no federation: it gives round 1 the status 9"):
        scripted.federation.status(RoundId(1))


def test_a_replaced_block_takes_its_members_with_it(scripted: ScriptedFederation) -> None:
    federation, provider = scripted.federation, scripted.provider
    membership = Membership(federation)
    federation.join(CONTRIBUTORS[0], STAKE)
    head = federation.block().number
    joined: Any = provider.chain.make_request(
        "eth_getLogs",  # type: ignore[arg-type]
        [{"fromBlock": hex(head), "toBlock": hex(head)}],
    )["result"]
    replaced = "0x" + "22" * 32

    def other_block(method: str, parameters: Any) -> Answer | None:
        if method == "eth_getBlockByNumber":
            found: Any = provider.chain.make_request(method, parameters)  # type: ignore[arg-type]
            return result({**found["result"], "hash": replaced})
        if method == "eth_getLogs" and joined:
            return result([])
        return None

    assert list(membership.stakes_at(1)) == [CONTRIBUTORS[0].address]
    provider.script = other_block
    assert list(membership.stakes_at(1)) == []


def test_settled_blocks_are_not_read_again(scripted: ScriptedFederation) -> None:
    membership = Membership(scripted.federation)
    scripted.federation.join(CONTRIBUTORS[0], STAKE)
    for _ in range(LATE_BLOCKS + 5):
        scripted.node.mine([])
    membership.stakes_at(1)
    scripted.node.mine([])
    asked: list[int] = []

    def noting(method: str, parameters: Any) -> Answer | None:
        if method == "eth_getLogs":
            asked.append(int(parameters[0]["fromBlock"], 16))
        return None

    scripted.provider.script = noting
    assert list(membership.stakes_at(1)) == [CONTRIBUTORS[0].address]
    assert asked == [scripted.node.head_number - LATE_BLOCKS]


def test_a_follower_gives_each_event_once_and_late_ones_too(scripted: ScriptedFederation) -> None:
    federation, provider = scripted.federation, scripted.provider
    follower = EventFollower(federation.rpc, federation.events)
    assert [type(event).__name__ for event in follower.new()] == ["FederationCreated"]
    provider.answers("eth_getLogs", result([]))
    federation.join(CONTRIBUTORS[0], STAKE)
    assert list(follower.new()) == []
    provider.script = lambda _method, _parameters: None
    federation.join(CONTRIBUTORS[1], STAKE)
    joined = [CONTRIBUTORS[0].address, CONTRIBUTORS[1].address]
    assert [event.account for event in follower.new() if isinstance(event, Joined)] == joined
    assert list(follower.new()) == []


def test_an_event_whose_handling_failed_is_given_again(scripted: ScriptedFederation) -> None:
    follower = EventFollower(scripted.federation.rpc, scripted.federation.events)
    first = next(follower.new())
    assert next(follower.new()) == first
