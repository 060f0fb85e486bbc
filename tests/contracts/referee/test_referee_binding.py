"""The referee's binding apart from the contracts: encoding, events, any node."""

import numpy as np
import pytest
from dispute_world import (
    ANSWER_S,
    COORDINATOR,
    DEPOSIT,
    STRANGER,
    WATCHER,
    DisputeWorld,
)
from web3 import Web3
from web3.providers.base import JSONBaseProvider

from contracts.binding import referee_calls
from contracts.binding.logs import REFEREE_EVENTS
from contracts.binding.records import LogPlace
from contracts.binding.referee import CaseState, Referee, RefereeReader, published_entry
from contracts.binding.referee_events import (
    REFEREE_EVENT_TYPES,
    Answered,
    CaseOpened,
    Convicted,
)
from contracts.binding.rpc import rpc_of
from contracts.node.provider import EmbeddedProvider
from contracts.node.rpc import Dispatcher
from coordinator.protocol.disputes import CaseKind, ColumnAnswer, Evidence, answer_to, column_of
from coordinator.protocol.disputes import moves as build
from coordinator.protocol.disputes import record_moves as ask
from coordinator.protocol.errors import LedgerError, TransactionRevertedError

PLACE = LogPlace(block_number=3, transaction_hash=bytes(32), log_index=5)


class PlainProvider(JSONBaseProvider):
    """A node that could be anywhere: nothing but JSON-RPC."""

    def __init__(self, court: DisputeWorld) -> None:
        super().__init__()
        self._inner = EmbeddedProvider(Dispatcher(court.node, dev=True))

    def make_request(self, method: str, params: object) -> object:
        return self._inner.make_request(method, params)  # type: ignore[arg-type]


def test_a_dispute_over_plain_json_rpc(court: DisputeWorld) -> None:
    """Question, answer, demand, entry, proof: each receipt holds the referee's events."""
    draft = court.draft()
    draft.new_model = draft.new_model + np.int32(1)
    round_ = court.commit(draft)
    referee = Referee(Web3(PlainProvider(court)), court.referee.address)
    assert referee.rpc.embedded_node is None
    case_id = referee.ask(WATCHER, ask.challenge_column(round_, 0))
    (case,) = referee.open_cases()
    assert (case.case_id, case.state, case.kind) == (1, CaseState.WAITING, CaseKind.AGGREGATE)
    referee.answer(COORDINATOR, case_id, answer_to(round_, case.open_case))
    referee.demand_entry(WATCHER, case_id, 4)
    record = referee.case(case_id)
    assert record is not None
    assert (record.entry, record.demands, record.deposit_wei) == (4, 1, 2 * DEPOSIT)
    receipt = referee.answer(STRANGER, case_id, answer_to(round_, record.open_case))
    (answered,) = receipt.events
    assert isinstance(answered, Answered)
    number, last = published_entry(answered)
    proof = build.prove_last(round_, number, 0, last)
    assert referee.refusal(proof, sender=STRANGER.address) == ""
    closed, convicted = referee.convict(STRANGER, proof).events
    assert isinstance(convicted, Convicted)
    assert (convicted.prover, closed.deposit) == (WATCHER.address, 2 * DEPOSIT)
    assert referee.open_cases() == []
    assert referee.collect(WATCHER).events[0].amount == 2 * DEPOSIT
    kinds = [type(event).__name__ for event in referee.events()]
    assert kinds == [
        *("CaseOpened", "ColumnAnswered", "EntryDemanded", "Answered"),
        *("CaseClosed", "Convicted", "Collected"),
    ]


def test_refusals_over_plain_json_rpc_name_their_reason(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    referee = Referee(Web3(PlainProvider(court)), court.referee.address)
    with pytest.raises(TransactionRevertedError) as caught:
        referee.convict(WATCHER, build.challenge_chunk(round_, 0))
    assert caught.value.reason == "dispute: chunk is right"
    with pytest.raises(TransactionRevertedError) as caught:
        referee.timeout(WATCHER, 1)
    assert caught.value.reason == "dispute: nothing to answer"
    assert referee.refusal(Evidence("answer_rule", (0, build.rule_words(round_.known_rule)))) != ""


def test_silence_and_closing_through_the_binding(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    silent = court.referee.ask(WATCHER, ask.demand_record(round_, CaseKind.RULE))
    other = court.referee.ask(STRANGER, ask.challenge_totals(round_))
    court.wait_until(court.now + ANSWER_S + 2)
    court.referee.timeout(STRANGER, silent)
    court.referee.close(WATCHER, other)
    assert court.deposits(STRANGER) == court.deposits(WATCHER) == DEPOSIT


def test_a_function_no_examiner_has() -> None:
    with pytest.raises(KeyError, match="slander: not a function of an examiner"):
        referee_calls.evidence_data(Evidence("slander", ()))


def test_every_event_of_the_referee_has_its_record() -> None:
    names = {e["name"] for e in referee_calls.load_artifact("referee").abi if e["type"] == "event"}
    assert names == set(REFEREE_EVENT_TYPES)


def test_foreign_logs_are_named() -> None:
    for topics in ([], [bytes(32)]):
        with pytest.raises(
            LedgerError, match=r"block 3, log 5: .* not one of the referee's events"
        ):
            REFEREE_EVENTS.decode(topics, b"", PLACE)


def test_only_entries_are_entries(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    case_id = court.ask(ask.demand_record(round_, CaseKind.RULE))
    _, answered = court.answer(round_, case_id).events
    assert isinstance(answered, Answered)
    with pytest.raises(LedgerError, match="case 1: the answer is not an entry of a column"):
        published_entry(answered)


def test_readers_need_no_key(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    court.ask(ask.challenge_totals(round_))
    reader = RefereeReader(rpc_of(court.w3), court.referee.address)
    (opened,) = reader.events()
    assert isinstance(opened, CaseOpened)
    assert opened.kind == CaseKind.TOTALS
    assert reader.unanswered() == 1
    assert list(reader.events(to_block=opened.place.block_number - 1)) == []


def test_labels_say_what_a_call_is_for(court: DisputeWorld) -> None:
    round_ = court.commit(court.draft())
    column = column_of(round_, CaseKind.TOTALS)
    call = referee_calls.answer_column(ColumnAnswer(3, column.root, 0, 0))
    assert (call.label, call.contract) == ("answer_column 3", "referee")
    direct = referee_calls.convict(build.challenge_chunk(round_, 0))
    assert (direct.label, direct.gas_limit) == ("challenge_chunk", 16_777_216)
