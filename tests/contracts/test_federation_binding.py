"""The binding apart from the contract: preparing, sending, nonces, errors."""

from dataclasses import replace

import pytest
from eth_abi import encode
from federation_world import (
    CONTRIBUTORS,
    COORDINATOR,
    MIN_STAKE,
    MODEL,
    RULE,
    STRANGER,
    TERMS,
    World,
    digest,
)
from web3 import AsyncWeb3, Web3
from web3.providers.base import JSONBaseProvider

from contracts.binding import calls
from contracts.binding.calls import Call
from contracts.binding.federation import Federation
from contracts.binding.rpc import Rpc, reason_text, rpc_of
from contracts.binding.transactions import Transactor
from coordinator.protocol.errors import ChainUnavailableError, LedgerError, TransactionRevertedError
from coordinator.protocol.round.chain_round import Seal, Settlement

ALICE, BOB = CONTRIBUTORS[:2]


class ScriptedProvider(JSONBaseProvider):
    """Answers each method with the next of its prepared answers, the last one for ever."""

    def __init__(self, **answers: object) -> None:
        super().__init__()
        self.answers = {name: list(given) for name, given in answers.items()}
        self.asked: list[str] = []

    def make_request(self, method: str, params: object) -> dict[str, object]:
        self.asked.append(method)
        queue = self.answers[method]
        answer = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, dict) and "error" in answer else {"result": answer}


# Sending ---------------------------------------------------------------------------------


def test_a_prepared_batch_is_one_block(world: World) -> None:
    federation = world.federation
    batch = federation.prepare_all([(member, calls.join(5)) for member in CONTRIBUTORS])
    receipts = federation.send_batch(batch, timestamp=world.now + 30)
    assert {receipt.block_number for receipt in receipts} == {world.node.head.number}
    assert [receipt.transaction_hash for receipt in receipts] == [s.hash for s in batch]
    assert [receipt.events[0].bond for receipt in receipts] == [1_005 + i for i in range(6)]
    assert receipts[0].fee_wei == receipts[0].gas_used * receipts[0].gas_price_wei > 0
    assert receipts[0].block_hash == world.node.head.hash


def test_one_account_may_send_many_in_a_block(world: World) -> None:
    federation = world.federation
    batch = federation.prepare_all([(ALICE, calls.join(1)) for _ in range(5)])
    assert [signed.nonce for signed in batch] == list(range(batch[0].nonce, batch[0].nonce + 5))
    assert federation.send_batch(batch)[-1].events[0].bond == MIN_STAKE + 5


def test_a_batch_too_large_for_a_block_takes_several() -> None:
    world = World.create(gas_limit=16_777_216)
    federation = world.federation
    whole_block = Call("fund", calls.fund(1).data, 1, 16_777_216, "fund")
    batch = federation.prepare_all([(STRANGER, whole_block)] * 3)
    at = world.now + 9
    receipts = federation.send_batch(batch, timestamp=at)
    assert [receipt.block_number for receipt in receipts] == [2, 3, 4]
    assert federation.block(2).timestamp == at
    assert federation.head().pool_wei == 3


def test_the_first_revert_of_a_batch_is_told_after_all_are_mined(world: World) -> None:
    federation = world.federation
    good, bad = (ALICE, calls.join(1)), (BOB, calls.withdraw())
    with pytest.raises(TransactionRevertedError) as caught:
        federation.send_batch(federation.prepare_all([good, bad, good]))
    assert caught.value.reason == "stake: nothing unbonding"
    assert str(caught.value).startswith(f"withdraw by {BOB.address} reverted in block")
    assert federation.account(ALICE.address).bond_wei == MIN_STAKE + 2
    assert world.send(BOB, calls.join(1)).events[0].bond == MIN_STAKE + 2


def test_a_refused_batch_names_the_call_and_frees_the_nonces(world: World) -> None:
    federation = world.federation
    poor = Call("fund", calls.fund(1).data, 10**30, 100_000, "fund too much")
    with pytest.raises(LedgerError, match=r"fund too much: .*insufficient funds"):
        federation.send_batch(federation.prepare_all([(STRANGER, poor)]))
    assert world.send(STRANGER, calls.fund(1)).events[0].amount == 1


def test_nonces_go_on_from_the_chain_after_a_restart(world: World) -> None:
    federation = world.federation
    lost = federation.prepare(ALICE, calls.join(1))
    restarted = Federation(world.w3, federation.address)
    again = restarted.prepare(ALICE, calls.join(1))
    assert again.nonce == lost.nonce
    restarted.send(again)
    federation.transactor.forget_nonces()
    assert federation.prepare(ALICE, calls.join(1)).nonce == lost.nonce + 1


def test_sending_the_same_transaction_twice_is_refused(world: World) -> None:
    federation = world.federation
    signed = federation.prepare(ALICE, calls.join(1))
    federation.send(signed)
    with pytest.raises(LedgerError, match="nonce too low"):
        federation.send(signed)
    assert federation.account(ALICE.address).bond_wei == MIN_STAKE + 1


def test_equal_histories_give_equal_block_hashes() -> None:
    """Gas limits and fees are fixed or follow from the chain, so bytes repeat."""
    hashes = []
    for _ in range(2):
        world = World.create().populate()
        world.play(1)
        world.finalize(1)
        hashes.append(world.node.head.hash)
        world.node.close()
    assert hashes[0] == hashes[1]


def test_the_fee_cap_follows_the_base_fee_unless_fixed(world: World) -> None:
    rpc = rpc_of(world.w3)
    base_fee = rpc.block().base_fee_wei
    call, to = calls.fund(1), world.federation.address
    floating = Transactor(rpc).prepare(STRANGER, call, to)
    fixed = Transactor(rpc, max_fee_wei=3 * 10**9, priority_fee_wei=0).prepare(STRANGER, call, to)
    fees = [world.w3.eth.account.recover_transaction(s.raw) for s in (floating, fixed)]
    assert fees == [STRANGER.address] * 2
    assert (2 * base_fee + 10**9).to_bytes(4, "big") in floating.raw
    assert (3 * 10**9).to_bytes(4, "big") in fixed.raw


def test_block_times_are_only_chosen_on_the_embedded_node(world: World) -> None:
    receipts = {"eth_chainId": ["0x539"], "eth_getCode": ["0x01"]}
    federation = Federation(Web3(ScriptedProvider(**receipts)), STRANGER.address)
    with pytest.raises(LedgerError, match="timestamp is for an embedded node only"):
        federation.send_batch([], timestamp=5)


# Failures --------------------------------------------------------------------------------


def test_a_node_that_does_not_answer_is_unavailable() -> None:
    w3 = Web3(Web3.HTTPProvider("http://127.0.0.1:1", request_kwargs={"timeout": 2}))
    with pytest.raises(ChainUnavailableError, match=r"node http://127.0.0.1:1: eth_chainId failed"):
        Federation(w3, STRANGER.address)


def test_an_asynchronous_provider_is_refused() -> None:
    with pytest.raises(LedgerError, match="AsyncHTTPProvider is not a synchronous one"):
        rpc_of(AsyncWeb3(AsyncWeb3.AsyncHTTPProvider("http://127.0.0.1:1")))


def test_a_transaction_that_is_never_mined_is_reported(world: World) -> None:
    provider = ScriptedProvider(
        eth_chainId=["0x539"], eth_sendRawTransaction=["0x00"], eth_getTransactionReceipt=[None]
    )
    transactor = Transactor(Rpc(provider), receipt_timeout_s=0.0)
    signed = world.federation.prepare(ALICE, calls.join(1))
    with pytest.raises(ChainUnavailableError, match=f"join .0x{signed.hash.hex()}. not mined"):
        transactor.send(signed)


def test_a_receipt_that_comes_late_is_waited_for(world: World) -> None:
    signed = world.federation.prepare(ALICE, calls.join(1))
    mined = {
        "status": "0x1",
        "transactionHash": "0x" + signed.hash.hex(),
        "blockNumber": "0x5",
        "blockHash": "0x" + digest(3).hex(),
        "gasUsed": "0x10",
        "effectiveGasPrice": "0x2",
        "contractAddress": None,
        "logs": [],
    }
    provider = ScriptedProvider(
        eth_chainId=["0x539"],
        eth_sendRawTransaction=["0x00"],
        eth_getTransactionReceipt=[None, None, mined],
    )
    receipt = Transactor(Rpc(provider)).send(signed)
    assert (receipt.block_number, receipt.fee_wei, receipt.events) == (5, 32, ())
    assert provider.asked.count("eth_getTransactionReceipt") == 3


def reverted(signed: object, gas_used: str) -> dict[str, object]:
    return {
        "status": "0x0",
        "transactionHash": "0x" + digest(2).hex(),
        "blockNumber": "0x5",
        "blockHash": "0x" + digest(3).hex(),
        "gasUsed": gas_used,
        "effectiveGasPrice": "0x2",
        "logs": [],
    }


def test_the_reason_is_looked_for_before_the_block_if_not_after_it(world: World) -> None:
    signed = world.federation.prepare(ALICE, calls.join(1))
    why = "0x08c379a0" + (32).to_bytes(32, "big").hex() + (5).to_bytes(32, "big").hex()
    why += b"stale".ljust(32, b"\0").hex()
    provider = ScriptedProvider(
        eth_chainId=["0x539"],
        eth_sendRawTransaction=["0x00"],
        eth_getTransactionReceipt=[reverted(signed, "0x10")],
        eth_call=["0x", {"error": {"code": 3, "message": "execution reverted", "data": why}}],
    )
    with pytest.raises(TransactionRevertedError) as caught:
        Transactor(Rpc(provider)).send(signed)
    assert caught.value.reason == "stale"
    unknown = ScriptedProvider(**{**provider.answers, "eth_call": ["0x"]})
    with pytest.raises(TransactionRevertedError, match="no reason given"):
        Transactor(Rpc(unknown)).send(signed)


def test_running_out_of_gas_is_named(world: World) -> None:
    short = Call("join", calls.join(1).data, 1, 30_000, "join")
    with pytest.raises(TransactionRevertedError) as caught:
        world.send(ALICE, short)
    assert caught.value.reason == "out of gas"
    signed = world.federation.prepare(ALICE, short)
    provider = ScriptedProvider(
        eth_chainId=["0x539"],
        eth_sendRawTransaction=["0x00"],
        eth_getTransactionReceipt=[reverted(signed, hex(30_000))],
    )
    with pytest.raises(TransactionRevertedError) as caught:
        Transactor(Rpc(provider)).send(signed)
    assert caught.value.reason == "out of gas"


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        ({"code": -32000, "message": "boom"}, LedgerError, "eth_chainId refused: boom"),
        ("just text", LedgerError, "eth_chainId refused: just text"),
        (
            {"code": 3, "message": "execution reverted", "data": {"data": "0x"}},
            TransactionRevertedError,
            "eth_chainId reverted: ",
        ),
        (
            {"code": -32000, "message": "VM Exception: revert"},
            TransactionRevertedError,
            "eth_chainId reverted: ",
        ),
    ],
)
def test_errors_of_a_node_are_translated(
    error: object, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        Rpc(ScriptedProvider(eth_chainId=[{"error": error}])).request("eth_chainId")
    assert type(caught.value) is kind


def test_an_answer_without_a_result_is_refused() -> None:
    provider = ScriptedProvider(eth_chainId=[{"error": None}])
    with pytest.raises(LedgerError, match=r"eth_chainId answered .* expected a result or an error"):
        Rpc(provider).request("eth_chainId")


def test_a_missing_block_is_named() -> None:
    with pytest.raises(LedgerError, match="there is no block 0x63"):
        Rpc(ScriptedProvider(eth_getBlockByNumber=[None])).block(99)


NOT_UTF8 = bytes.fromhex("08c379a0") + encode(["bytes"], [b"\xff\xfe"])
"""A contract chooses its revert data: this string is none."""


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", ""),
        ("4e487b71" + (0x11).to_bytes(32, "big").hex(), "panic 0x11"),
        ("deadbeef", "deadbeef"),
        ("08c379a0ff", "08c379a0ff"),
        (NOT_UTF8.hex(), NOT_UTF8.hex()),
    ],
)
def test_revert_data_is_read(data: str, reason: str) -> None:
    assert reason_text(bytes.fromhex(data)) == reason


@pytest.mark.parametrize("reason", ["", "x" * 33, "naïve"])
def test_a_void_reason_is_short_ascii(reason: str) -> None:
    with pytest.raises(ValueError, match=r"expected 1..32 ASCII characters"):
        calls.void_round(1, reason)


# Methods ---------------------------------------------------------------------------------


def test_every_call_has_a_method_of_its_own(world: World) -> None:
    """The methods do what the calls say; one round through each of them."""
    federation, now = world.federation, world.now
    gavel = world.deploy("gavel")
    earned = {ALICE.address: 700}
    root = digest(7)
    assert federation.join(ALICE, 5).events[0].amount == 5
    assert federation.bond_coordinator(COORDINATOR, 6).events[0].amount == 6
    assert federation.fund(STRANGER, 7).events[0].amount == 7
    assert federation.set_referee(COORDINATOR, gavel).events[0].referee == gavel
    opened = federation.open_round(COORDINATOR, 1, MODEL, RULE, now + 100)
    assert opened.events[0].deadline == now + 100
    assert federation.commit_updates(COORDINATOR, 1, root, 3).events[0].count == 3
    world.wait_until(world.now + 6)
    sealed = federation.seal_round(
        COORDINATOR,
        1,
        Seal(
            contributors_root=root,
            n=3,
            total_examples=4,
            total_stake_wei=5,
            new_model_root=digest(9),
        ),
    )
    assert (sealed.events[0].n, sealed.events[0].total_stake) == (3, 5)
    settled = federation.settle_round(
        COORDINATOR, 1, Settlement(scores_root=root, total_score=2, rewards_root=root, paid_wei=699)
    )
    assert settled.events[0].paid == 699
    world.wait_until(federation.round(1).finalizable_at)
    assert federation.finalize_round(BOB, 1).events[0].round == 1
    with pytest.raises(TransactionRevertedError, match="bad proof"):
        federation.claim(ALICE, earned[ALICE.address], [])
    federation.open_round(COORDINATOR, 2, digest(9), RULE, world.now + 100)
    assert federation.void_round(COORDINATOR, 2, "why").events[0].reason_text == "why"
    pair = [world.signed(BOB, 2, digest(50 + i)) for i in range(2)]
    assert federation.slash_equivocation(STRANGER, *pair).events[0].account == BOB.address
    assert federation.collect(STRANGER).events[0].account == STRANGER.address
    deadline = world.open(3)
    world.wait_until(deadline)
    assert federation.expire_round(STRANGER, 3).events[0].round == 3
    assert federation.leave(ALICE).events[0].account == ALICE.address
    assert federation.unbond_coordinator(COORDINATOR).events[0].account == COORDINATOR.address
    world.wait_until(world.now + TERMS.unbonding_period_s)
    assert federation.withdraw(ALICE).events[0].amount == MIN_STAKE + 5
    assert federation.round_at_height(1) == 1
    assert federation.round_at_height(2) == 0


def test_the_terms_read_as_written(world: World) -> None:
    assert replace(world.federation.terms) == TERMS
    assert world.federation.now() == world.now
