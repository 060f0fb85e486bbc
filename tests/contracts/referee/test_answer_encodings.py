"""Answers in every encoding that the contract accepts: the decoder is exactly as lenient.

Anyone may answer a case. An answer that the contract takes and a watcher cannot read would end
every watcher, for the price of one transaction.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from dispute_rounds import make_rule
from dispute_world import EXAMPLES, STRANGER, UPDATES, WATCHER, DisputeWorld
from eth_abi import encode
from eth_abi.exceptions import DecodingError
from eth_abi.grammar import ABIType, TupleType, parse
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.binding.artifacts import FunctionAbi, load_artifact
from contracts.binding.calls import Call
from contracts.binding.referee_calls import ANSWER_GAS, evidence_data, examiner_function
from contracts.node.records import CallRequest
from coordinator.audit.watch.published import PublishedData
from coordinator.protocol.disputes import CaseKind, DisputedRound, Evidence, Question, answer_to
from coordinator.protocol.disputes import record_moves as ask
from coordinator.protocol.types import Address, RoundId, Wei

WORD = 32
ONES = b"\xff" * WORD
DEMANDS: dict[str, Callable[[DisputedRound], Question]] = {
    "rule": lambda r: ask.demand_record(r, CaseKind.RULE),
    "contributor": lambda r: ask.demand_record(r, CaseKind.CONTRIBUTOR, 0),
    "score": lambda r: ask.demand_record(r, CaseKind.SCORE, 0),
    "reward": lambda r: ask.demand_record(r, CaseKind.REWARD, 1),
    "update": lambda r: ask.demand_chunk(r, CaseKind.UPDATE, 0, 0),
    "new model": lambda r: ask.demand_chunk(r, CaseKind.NEW_MODEL, 1),
}


@dataclass(frozen=True)
class Asked:
    """One open case, and the honest call that answers it."""

    number: int
    function: FunctionAbi
    data: bytes

    @property
    def arguments(self) -> tuple[object, ...]:
        return self.function.decode_arguments(self.data)


@dataclass
class Bench:
    """A settled round with a case of each kind, and a stranger who answers."""

    court: DisputeWorld
    asked: dict[str, Asked]

    def call(self, asked: Asked, evidence: bytes) -> Call:
        data = load_artifact("referee").functions["answer"].encode_call((asked.number, evidence))
        return Call("answer", data, Wei(0), ANSWER_GAS, "answer", "referee")

    def accepts(self, asked: Asked, evidence: bytes) -> bool:
        """Whether the contract would take an answer now."""
        data = self.call(asked, evidence).data
        request = CallRequest(self.court.referee.address, data, Address(STRANGER.address))
        return self.court.node.call(request).is_success

    def read(self, asked: Asked, evidence: bytes) -> tuple[object, ...] | None:
        """The arguments as a watcher reads them, ``None`` if it refuses the call."""
        try:
            return asked.function.decode_arguments(evidence)
        except DecodingError:
            return None


@pytest.fixture(scope="module", params=[1, 4])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Of one contributor, whose proofs are empty, and of four."""
    court = DisputeWorld.create()
    rule = make_rule(num_byzantine=0, min_contributors=1)
    draft = court.draft(UPDATES[: request.param], EXAMPLES[: request.param], rule=rule)
    round_ = court.commit(draft)
    asked = {}
    for name, question in DEMANDS.items():
        number = court.ask(question(round_), who=WATCHER)
        evidence = answer_to(round_, court.case(number).open_case)
        assert isinstance(evidence, Evidence)
        asked[name] = Asked(number, examiner_function(evidence.function), evidence_data(evidence))
    yield Bench(court, asked)
    court.node.close()


def word(value: int) -> bytes:
    return (value % 2**256).to_bytes(WORD, "big")


def heads(function: FunctionAbi) -> Iterator[tuple[int, str]]:
    """Where in a call the offsets of arrays and bytes stand, and of which type they are."""
    at = 4
    for kind in map(parse, function.inputs):
        if kind.is_dynamic:
            yield at, kind.to_type_str()
            at += WORD
        else:
            at += len(encode([kind.to_type_str()], [zero(kind)]))


def zero(kind: ABIType) -> Any:
    if kind.is_array:
        return [zero(kind.item_type)] * kind.arrlist[-1][0]
    if isinstance(kind, TupleType):
        return tuple(zero(component) for component in kind.components)
    return {"address": "0x" + "00" * 20, "bool": False, "bytes": bytes(kind.sub or 0)}.get(
        kind.base, 0
    )


def at_word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + WORD], "big")


def unusual(asked: Asked) -> Iterator[tuple[str, bytes]]:
    """Encodings of an honest answer that no encoder makes, and that mean the same."""
    data = asked.data
    yield "bytes after the call", data + b"\1"
    places = list(heads(asked.function))
    if not places:
        return
    first = 4 + min(at_word(data, at) for at, _ in places)
    moved = data[:first] + ONES + data[first:]
    for at, _ in places:
        moved = moved[:at] + word(at_word(data, at) + WORD) + moved[at + WORD :]
    yield "a hole before the values", moved
    for at, kind in places:
        start = 4 + at_word(data, at)
        length = at_word(data, start)
        if kind == "bytes" and length % WORD:
            end = start + WORD + length
            yield "padding that is not zero", data[:end] + b"\1" + data[end + 1 :]
        if length == 0:
            for offset in (len(data), 2**200, 2**256 - 4 - 2**100):
                yield "an empty array beyond the call", data[:at] + word(offset) + data[at + WORD :]
            zeros = [
                place for place in range(4, first - WORD + 1) if not any(data[place : place + WORD])
            ]
            for place in zeros[:1]:
                yield "an empty array in the head", data[:at] + word(place - 4) + data[at + WORD :]
        own = data[
            start : start + WORD * (1 + -(-length // WORD) if kind == "bytes" else 1 + length)
        ]
        yield "a value at the end", data[:at] + word(len(data) - 4) + data[at + WORD :] + own
    yield "no padding at the end", data.rstrip(b"\0") if places[-1][1] == "bytes" else data


@pytest.mark.parametrize("name", DEMANDS)
def test_what_means_the_same_is_accepted_and_read(bench: Bench, name: str) -> None:
    asked = bench.asked[name]
    assert bench.accepts(asked, asked.data)
    for what, data in unusual(asked):
        assert bench.accepts(asked, data), what
        assert bench.read(asked, data) == asked.arguments, what


@pytest.mark.parametrize("name", DEMANDS)
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_the_decoder_reads_what_the_contract_accepts(
    bench: Bench, name: str, data: st.DataObject
) -> None:
    asked = bench.asked[name]
    changed = bytearray(asked.data)
    for _ in range(data.draw(st.integers(1, 3))):
        if len(changed) == 4:  # all of it was cut off
            break
        place = st.integers(4, len(changed) - 1)
        match data.draw(st.sampled_from(["byte", "word", "insert", "end"])):
            case "byte":
                changed[data.draw(place)] = data.draw(st.integers(0, 255))
            case "word":
                at = 4 + (data.draw(place) - 4) // WORD * WORD
                value = data.draw(st.sampled_from([0, 1, WORD, len(changed), -1, -WORD, 2**200]))
                changed[at : at + WORD] = word(value)
            case "insert":
                at = 4 + (data.draw(place) - 4) // WORD * WORD
                changed[at:at] = word(data.draw(st.integers(0, 2)))
            case "end":
                del changed[max(4, len(changed) - data.draw(st.integers(1, 40))) :]
    evidence = bytes(changed)
    if bench.accepts(asked, evidence):
        assert bench.read(asked, evidence) == asked.arguments


def test_a_watcher_reads_every_such_answer(bench: Bench) -> None:
    """One transaction of a stranger ended every watcher, for good."""
    court = bench.court
    snapshot = court.node.snapshot()
    for asked in bench.asked.values():
        *_, (_, evidence) = unusual(asked)
        court.send(STRANGER, bench.call(asked, evidence))
    published = PublishedData(court.federation, court.referee)
    published.refresh()
    state = court.federation.round(RoundId(1))
    assert published.rule(state.rule_hash) is not None
    court.node.revert(snapshot)
    court.forget()
