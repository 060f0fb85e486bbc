"""Data that a coordinator published on chain in its answers: the rule, records, chunks.

The referee has checked each answer against the round's commitments, so the only check left is that
a vector joined from chunks hashes to its root. A document or a vector that was published completely
replaces the one that the store does not have.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from contracts.binding.log_reader import EventFollower
from contracts.binding.reader import FederationReader
from contracts.binding.referee import RefereeReader
from contracts.binding.referee_calls import examiner_function
from contracts.binding.referee_events import Answered, CaseOpened
from coordinator.audit.watch.shown_records import (
    Contributors,
    Records,
    contributor_of,
    reward_of,
    score_of,
    shown_contributors,
    shown_rewards,
    shown_scores,
)
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.disputes.cases import CaseKind, Question
from coordinator.protocol.disputes.records import DisputedRound
from coordinator.protocol.errors import ChainUnavailableError
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.round.chain_round import ChainRound
from coordinator.protocol.types import Int32Vector, RewardLeaf, RoundId, Rule, ScoreLeaf

_VALUE_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class _OpenQuestion:
    round_id: RoundId
    kind: CaseKind
    index: int
    chunk: int


class PublishedData:
    """The coordinator's answers to one referee's questions, up to the last block read."""

    def __init__(self, federation: FederationReader, referee: RefereeReader) -> None:
        self._federation, self._referee = federation, referee
        self._follower = EventFollower(referee.rpc, referee.events)
        self._questions: dict[int, _OpenQuestion] = {}
        self._rules: dict[bytes, Rule] = {}
        self._chunks: dict[bytes, dict[int, bytes]] = {}
        self._contributors = shown_contributors()
        self._scores = shown_scores()
        self._rewards = shown_rewards()

    def refresh(self) -> None:
        """Read the referee's events since the last call."""
        states: dict[RoundId, ChainRound] = {}
        for event in self._follower.new():
            if isinstance(event, CaseOpened):
                kind = CaseKind(event.kind)
                question = _OpenQuestion(event.round, kind, event.index, event.chunk)
                self._questions[event.id] = question
            elif isinstance(event, Answered):
                question = self._question_of(event.id)
                if question.round_id not in states:
                    states[question.round_id] = self._federation.round(question.round_id)
                self._keep(question, states[question.round_id], event.evidence)

    def _question_of(self, case_id: int) -> _OpenQuestion:
        """Return what a case asks; from the contract, where its event comes late."""
        if case_id not in self._questions:
            case = self._referee.case(case_id)
            if case is None:
                raise ChainUnavailableError(
                    f"{self._referee.rpc.where}: shows an answer to case {case_id} and no such case"
                )
            question = _OpenQuestion(case.round_id, case.kind, case.index, case.chunk)
            self._questions[case_id] = question
        return self._questions[case_id]

    def _keep(self, question: _OpenQuestion, state: ChainRound, evidence: bytes) -> None:
        match question.kind:
            case CaseKind.RULE:
                # Not hashed again: a word may be above its type, which is for a proof to say.
                self._rules[state.rule_hash] = Rule(*_arguments("answer_rule", evidence)[1])
            case CaseKind.CONTRIBUTOR:
                contributor, proof = contributor_of(_arguments("answer_contributor", evidence))
                self._contributors.keep(state.contributors_root, question.index, contributor, proof)
            case CaseKind.SCORE:
                score, proof = score_of(_arguments("answer_score", evidence))
                self._scores.keep(state.scores_root, question.index, score, proof)
            case CaseKind.REWARD:
                member = self._federation.member(question.index)
                assert member is not None  # the referee looked it up when the question was asked
                reward, proof = reward_of(_arguments("answer_reward", evidence), member)
                self._rewards.keep(state.rewards_root, question.index, reward, proof)
            case CaseKind.UPDATE:
                _, _, leaf, _, chunk, _ = _arguments("answer_update_chunk", evidence)
                self._chunks.setdefault(bytes(leaf[3]), {})[question.chunk] = bytes(chunk)
            case CaseKind.BASE_MODEL | CaseKind.NEW_MODEL:
                _, _, _, chunk, _ = _arguments("answer_model_chunk", evidence)
                is_base = question.kind is CaseKind.BASE_MODEL
                root = state.model_root if is_base else state.new_model_root
                self._chunks.setdefault(root, {})[question.chunk] = bytes(chunk)

    # --- what was shown ----------------------------------------------------------------------

    def rule(self, digest: bytes) -> Rule | None:
        """Return a rule that was shown, by its hash."""
        return self._rules.get(digest)

    def contributors(self, root: bytes, n: int) -> Contributors | None:
        """Return a round's contributors in order of index, if all were shown."""
        shown = self._contributors.all_of(root, range(n))
        return None if shown is None else Contributors.of(shown)

    def scores(self, root: bytes, n: int) -> Records[ScoreLeaf] | None:
        """Return a round's scores in order of the contributors, if all were shown."""
        return self._scores.all_of(root, range(n))

    def rewards(self, root: bytes, members: int) -> Records[RewardLeaf] | None:
        """Return what the first ``members`` have earned, if all of it was shown."""
        return self._rewards.all_of(root, range(1, members + 1))

    def vector(self, root: bytes, manifest: Manifest) -> Int32Vector | None:
        """Return a vector every chunk of which was shown."""
        chunks = self._chunks.get(root, {})
        count = -(-manifest.dimension // manifest.chunk_values)
        if not all(index in chunks for index in range(count)):
            return None
        flat = b"".join(chunks[index] for index in range(count))
        values = np.frombuffer(flat[: manifest.dimension * _VALUE_BYTES], ">i4").astype(np.int32)
        return values if parameter_root(values, manifest) == root else None

    def has_shown(self, round_: DisputedRound, question: Question) -> bool:
        """Whether the answer to a demand for a record or a chunk is on chain already."""
        if question.function == "demand_record":
            _, kind, index = question.arguments
            return self._has_record(round_, CaseKind(kind), index)
        if question.function != "demand_chunk":
            return False
        _, _, kind, index, chunk = question.arguments
        if kind == CaseKind.UPDATE:
            root = round_.known_entries[index].leaf.update_root
        else:
            committed = round_.committed
            is_base = kind == CaseKind.BASE_MODEL
            root = committed.model_root if is_base else committed.new_model_root
        return chunk in self._chunks.get(root, {})

    def _has_record(self, round_: DisputedRound, kind: CaseKind, index: int) -> bool:
        committed = round_.committed
        if kind is CaseKind.CONTRIBUTOR:
            return self._contributors.has(committed.contributors_root, index)
        if kind is CaseKind.SCORE:
            return self._scores.has(committed.scores_root, index)
        if kind is CaseKind.REWARD:
            return self._rewards.has(committed.rewards_root, index)
        return committed.rule_hash in self._rules


def _arguments(function: str, evidence: bytes) -> tuple[Any, ...]:
    """Return the arguments of an answer, which the examiner of its kind of case has accepted."""
    return examiner_function(function).decode_arguments(evidence)
