"""The referee's transactions as values; see ``contracts.binding.calls`` for the federation's.

Gas limits are fixed per function, for the largest round (``docs/disputes.md``); that of a direct
challenge is the largest that a transaction may have.
"""

from collections.abc import Sequence
from typing import Any, Final

from contracts.binding.artifacts import FunctionAbi, load_artifact
from contracts.binding.calls import Call
from coordinator.protocol.disputes.cases import ColumnAnswer, Evidence, Question
from coordinator.protocol.types import Address, Wei

EXAMINERS: Final = ("aggregate_examiner", "record_examiner")
QUESTION_GAS: Final = 600_000
ANSWER_GAS: Final = 1_000_000
EVIDENCE_GAS: Final = 1_000_000
DIRECT_GAS: Final = 16_777_216
"""EIP-7825's limit for one transaction."""
END_GAS: Final = 400_000
DEPLOY_GAS: Final = 8_000_000


def examiner_function(name: str) -> FunctionAbi:
    """Return a function of one of the examiners.

    Raises
    ------
    KeyError
        If no examiner has it.
    """
    for examiner in EXAMINERS:
        functions = load_artifact(examiner).functions
        if name in functions:
            return functions[name]
    raise KeyError(f"{name}: not a function of an examiner")


def evidence_data(evidence: Evidence) -> bytes:
    """Return the calldata of a proof or an answer."""
    return examiner_function(evidence.function).encode_call(evidence.arguments) + evidence.tail


def _call(
    function: str, arguments: Sequence[Any], gas: int, value: int = 0, label: str = ""
) -> Call:
    data = load_artifact("referee").functions[function].encode_call(arguments)
    return Call(function, data, Wei(value), gas, label or function, "referee")


def deploy_examiner(name: str, federation: Address) -> Call:
    """Deploy one of :data:`EXAMINERS`."""
    code = load_artifact(name).creation_code([federation])
    return Call("deploy", code, Wei(0), DEPLOY_GAS, f"deploy {name}", name)


def deploy_referee(
    federation: Address, examiners: Sequence[Address], deposit_wei: Wei, answer_s: int
) -> Call:
    """Deploy the referee of a federation; examiners in the order of :data:`EXAMINERS`."""
    arguments = [federation, *examiners, deposit_wei, answer_s]
    code = load_artifact("referee").creation_code(arguments)
    return Call("deploy", code, Wei(0), DEPLOY_GAS, "deploy referee", "referee")


def convict(evidence: Evidence) -> Call:
    """Prove fraud; reverts if the evidence does not."""
    gas = DIRECT_GAS if evidence.function == "challenge_chunk" else EVIDENCE_GAS
    return Call(
        evidence.function, evidence_data(evidence), Wei(0), gas, evidence.function, "referee"
    )


def ask(question: Question, deposit_wei: Wei) -> Call:
    """Open a case."""
    return _call(question.function, question.arguments, QUESTION_GAS, deposit_wei)


def demand_entry(case_id: int, index: int, deposit_wei: Wei) -> Call:
    """Demand one entry of an answered column."""
    label = f"demand_entry {index} of case {case_id}"
    return _call("demand_entry", (case_id, index), QUESTION_GAS, deposit_wei, label)


def answer_column(answer: ColumnAnswer) -> Call:
    """Answer with a column's root; coordinator only."""
    arguments = (answer.case_id, answer.root, answer.lo, answer.hi)
    return _call("answer_column", arguments, ANSWER_GAS, label=f"answer_column {answer.case_id}")


def answer(case_id: int, evidence: Evidence) -> Call:
    """Publish a demanded entry or document."""
    arguments = (case_id, evidence_data(evidence))
    return _call("answer", arguments, ANSWER_GAS, label=f"answer {case_id}")


def reply(case_id: int, content: ColumnAnswer | Evidence) -> Call:
    """Answer a case, with a column's root or with the demanded data."""
    if isinstance(content, ColumnAnswer):
        return answer_column(content)
    return answer(case_id, content)


def timeout(case_id: int) -> Call:
    """Convict over a case that was not answered in time."""
    return _call("timeout", (case_id,), END_GAS, label=f"timeout {case_id}")


def close(case_id: int) -> Call:
    """Close a case that can no longer convict."""
    return _call("close", (case_id,), END_GAS, label=f"close {case_id}")


def collect() -> Call:
    """Withdraw deposits."""
    return _call("collect", (), END_GAS)
