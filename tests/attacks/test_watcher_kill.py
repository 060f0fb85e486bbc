"""One answer on chain that ends every watcher, running or started later.

Padding that the contract ignores and the decoder of the watcher refuses: anybody may send it, on an
honest round, and the next round is not watched.
"""

from collections.abc import Callable

from fraud_bench import GUILTY, FraudBench
from known_weakness import AttackSucceedsError, attacker_fails, known_weakness

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
    try:
        while watcher.step():
            continue
    except Exception as error:  # whatever it is, it ends the process that watches
        raise AttackSucceedsError(f"the watcher ends with {type(error).__name__}") from error
    finalize_all(bench.chain)
    return bench.statuses()


@known_weakness("padding ends a watcher")
def test_known_weakness_an_answer_with_padding_ends_the_watcher(
    make_bench: Callable[..., FraudBench],
) -> None:
    bench = make_bench({"kind": "shift_parameter", "parameter": 11})
    attacker_fails(outcome(bench, padding=1)[GUILTY - 1] == "void", "the false round is final")


def test_without_the_padding_the_watcher_convicts(make_bench: Callable[..., FraudBench]) -> None:
    bench = make_bench({"kind": "shift_parameter", "parameter": 11})
    assert outcome(bench, padding=0)[GUILTY - 1] == "void"
