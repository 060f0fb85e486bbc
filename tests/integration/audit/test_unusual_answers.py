"""Answers on chain whose padding is not zero: the contract ignores it, and so does a watcher.

Anybody may send one, on an honest round. Once, a watcher that read it ended, on every start
(ADR 0140).
"""

from collections.abc import Callable

import pytest
from fraud_bench import GUILTY, FraudBench

from contracts.binding.artifacts import load_artifact
from contracts.binding.calls import Call
from contracts.binding.referee_calls import ANSWER_GAS, evidence_data
from coordinator.audit.watch.rounds import RoundReader
from coordinator.protocol.disputes import CaseKind, answer_to, record_moves
from coordinator.protocol.types import RoundId, Wei
from simulations.run.chain import finalize_all


def answer_with_padding(bench: FraudBench, padding: int) -> None:
    """Have an outsider ask about round 1 and answer for the coordinator, the last byte changed."""
    chain, outsider = bench.chain, bench.chain.identities.contributors[4]
    round_ = RoundReader(chain.federation, bench.public).read(RoundId(1))
    question = record_moves.demand_record(round_, CaseKind.CONTRIBUTOR, 0)
    case = chain.referee.ask(outsider, question)
    data = bytearray(evidence_data(answer_to(round_, chain.referee.case(case).open_case)))
    assert data[-31:] == bytes(31)  # a signature of 65 bytes fills two words and one byte
    data[-1] = padding
    abi = load_artifact("referee").functions["answer"]
    sent = abi.encode_call((case, bytes(data)))
    call = Call("answer", sent, Wei(0), ANSWER_GAS, "answer", "referee")
    chain.referee.transact(outsider, call)  # raises if it is refused


def outcome(bench: FraudBench, padding: int) -> list[str]:
    """Play an honest round and a false one, with an answer between them; return what became."""
    bench.play(watched=False)
    watcher = bench.watcher()
    watcher.step()
    answer_with_padding(bench, padding)
    bench.play(watched=False)
    while watcher.step():
        continue
    finalize_all(bench.chain)
    return bench.statuses()


@pytest.mark.parametrize("padding", [0, 1])
def test_a_watcher_convicts_after_an_answer_with_padding(
    make_bench: Callable[..., FraudBench], padding: int
) -> None:
    bench = make_bench({"kind": "shift_parameter", "parameter": 11})
    assert outcome(bench, padding)[GUILTY - 1] == "void"
