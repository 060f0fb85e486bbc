"""What a watcher's decisions become: calls to the referee, each with the words to say of it.

Pure: what to decide is ``cases``' and ``watcher``'s, sending is ``sending``'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from contracts import referee_calls
from contracts.calls import Call
from contracts.referee import CaseRecord
from coordinator.core.disputes import Evidence, Fault, Question
from coordinator.core.types import RoundId, Wei
from coordinator.watch.cases import DemandEntry, End
from coordinator.watch.findings import Verb


@dataclass(frozen=True, slots=True)
class Errand:
    """One call to the referee: what it is for, and what to say of it once it is done.

    Attributes
    ----------
    plan
        Said with its price before it is sent; empty where there is nothing to weigh.
    done, text
        Said once it is mined.
    """

    round_id: RoundId
    call: Call
    plan: str
    done: Verb
    text: str


def proving(round_id: RoundId, evidence: Evidence, why: str) -> Errand:
    """Convict a round with evidence."""
    plan = f"prove it with {evidence.function} ({why})"
    return Errand(round_id, referee_calls.convict(evidence), plan, "convicted", why)


def asking(
    round_id: RoundId, questions: Sequence[tuple[Fault, Question]], deposit_wei: Wei
) -> list[Errand]:
    """Ask the coordinator questions over the faults that they are about."""
    return [
        Errand(
            round_id,
            referee_calls.ask(question, deposit_wei),
            f"ask with {question.function} ({fault})",
            "asked",
            f"{question.function}: {fault}",
        )
        for fault, question in questions
    ]


def pursuing(case: CaseRecord, step: DemandEntry | End, deposit_wei: Wei) -> Errand:
    """Go on with an open case: demand an entry, or end it."""
    match step:
        case DemandEntry(index):
            call = referee_calls.demand_entry(case.case_id, index, deposit_wei)
            text = f"entry {index} of case {case.case_id}"
            return Errand(case.round_id, call, f"demand {text}", "demanded", text)
        case End("timeout"):
            call = referee_calls.timeout(case.case_id)
            text = f"case {case.case_id} was not answered in time"
            return Errand(case.round_id, call, f"call timeout ({text})", "convicted", text)
        case End():
            call = referee_calls.close(case.case_id)
            return Errand(case.round_id, call, "", "closed", f"case {case.case_id} ended")
