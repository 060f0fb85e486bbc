"""Chooses a watcher's next questions about a round, within the number it will pay for.

Every chunk of a withheld vector may be demanded, the last one first: only the last can hold data
behind the last parameter, and a coordinator whose last chunk does cannot answer. Of a withheld
document every record may be demanded. One question is asked first, since an unanswered one convicts
for a single deposit; once it was answered, or if there is no time to wait for it, all the others
are asked together (ADR 83). Not handled: sending.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from coordinator.audit.watch.published import PublishedData
from coordinator.audit.watch.steps import Key
from coordinator.protocol.disputes.cases import CaseKind, Evidence, Question
from coordinator.protocol.disputes.fault import Fault, FaultKind
from coordinator.protocol.disputes.records import DisputedRound

DEFAULT_CHUNKS = 8
DEFAULT_RECORDS = 64

FaultQuestion = tuple[Fault, Question]


@dataclass(frozen=True, slots=True)
class QuestionPlan:
    """Chooses questions.

    Attributes
    ----------
    published
        Earlier answers, to any challenger: those questions are not asked again.
    chunks, records
        The most chunks of one vector and records of one document to pay for.
    """

    published: PublishedData
    chunks: int = DEFAULT_CHUNKS
    records: int = DEFAULT_RECORDS

    def next(
        self,
        round_: DisputedRound,
        options: Sequence[tuple[Fault, Evidence | Question]],
        asked: Collection[Key],
        *,
        can_wait: bool,
    ) -> list[FaultQuestion]:
        """Return the questions to ask now, none if all allowed ones were asked.

        Parameters
        ----------
        asked
            Every question this watcher asked before; all of them have been answered.
        can_wait
            Whether there is time to wait for an answer and ask again.
        """
        paid = Counter(subject_of(key) for key in asked)
        fresh: dict[Key, FaultQuestion] = {}
        for fault, move in options:
            for other in self._variants(round_, fault, move):
                key = key_of(other)
                if key in asked or key in fresh or self.published.has_shown(round_, other):
                    continue
                if paid[subject_of(key)] < self._limit(other):
                    paid[subject_of(key)] += 1
                    fresh[key] = (fault, other)
        questions = list(fresh.values())
        round_id = round_.committed.round_id
        was_answered = any(key[0] == round_id and not CaseKind(key[1]).is_column for key in asked)
        # A question about a column opens a dispute of its own, so no other goes with it.
        together = was_answered or not can_wait
        if together and questions and _is_demand(questions[0][1]):
            return [pair for pair in questions if _is_demand(pair[1])]
        return questions[:1]

    def _limit(self, question: Question) -> int:
        return self.chunks if question.function == "demand_chunk" else self.records

    def _variants(
        self, round_: DisputedRound, fault: Fault, move: Evidence | Question
    ) -> Iterator[Question]:
        """Yield a question and all the others that may be asked in its place."""
        if isinstance(move, Evidence):
            return
        *fixed, _ = move.arguments
        for index in self._indices(round_, fault, move):
            yield replace(move, arguments=(*fixed, index))
        yield move

    def _indices(self, round_: DisputedRound, fault: Fault, move: Question) -> Sequence[int]:
        if move.function == "demand_chunk":
            last = round_.layout.chunk_count - 1
            return [last, *range(last)]
        if fault.kind is FaultKind.CONTRIBUTOR_WITHHELD and round_.entries is None:
            return range(round_.committed.n)
        if fault.kind is FaultKind.SCORE_WITHHELD and round_.scores is None:
            return range(round_.committed.n)
        if fault.kind is FaultKind.REWARD_WITHHELD and round_.rewards is None:
            return range(1, round_.committed.member_count + 1)
        return ()


def _is_demand(question: Question) -> bool:
    return question.function.startswith("demand_")


def key_of(question: Question) -> Key:
    """Return round, kind, index and chunk of a question, as the referee's events name them."""
    round_id, *rest = question.arguments
    match question.function:
        case "challenge_column":
            return (round_id, 1, rest[1], 0)
        case "challenge_totals":
            return (round_id, 2, 0, 0)
        case "challenge_payments":
            return (round_id, 3, 0, 0)
        case "demand_record":
            return (round_id, rest[0], rest[1], 0)
    return (round_id, rest[1], rest[2], rest[3])


def subject_of(key: Key) -> tuple[int, int, int]:
    """Return the subject of a question: a document of a round, or one vector of it."""
    round_id, kind, index, _ = key
    is_vector = kind in (CaseKind.UPDATE, CaseKind.BASE_MODEL, CaseKind.NEW_MODEL)
    return (round_id, kind, index if is_vector else 0)
