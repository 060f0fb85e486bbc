"""What a coordinator showed on chain when it was asked, by anyone: rules and chunks of vectors.

The referee accepted it against the round's commitments, so it needs no other check than that a
vector put together from chunks hashes to its root. Not handled: contributors, scores and rewards,
whose documents hold more than an answer shows.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from eth_abi.abi import decode

from contracts.reader import FederationReader
from contracts.referee import RefereeReader
from contracts.referee_calls import examiner_function
from contracts.referee_events import Answered, CaseOpened
from coordinator.core.commitment import rule_hash
from coordinator.core.disputes import CaseKind, DisputedRound, Question
from coordinator.core.manifest import Manifest
from coordinator.core.parameter_tree import parameter_root
from coordinator.core.types import Int32Vector, RoundId, Rule

_MODELS: Final = (CaseKind.BASE_MODEL, CaseKind.NEW_MODEL)
_VALUE_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class _Asked:
    round_id: RoundId
    kind: CaseKind
    chunk: int


class PublishedData:
    """The answers of one referee's coordinator, as far as the chain was read."""

    def __init__(self, federation: FederationReader, referee: RefereeReader) -> None:
        self._federation, self._referee = federation, referee
        self._next_block = 0
        self._asked: dict[int, _Asked] = {}
        self._rules: dict[bytes, Rule] = {}
        self._chunks: dict[bytes, dict[int, bytes]] = {}

    def refresh(self) -> None:
        """Read the referee's events since the last look."""
        head = self._referee.rpc.block().number
        for event in self._referee.events(self._next_block, head):
            if isinstance(event, CaseOpened):
                self._asked[event.id] = _Asked(event.round, event.kind, event.chunk)
            elif isinstance(event, Answered):
                self._keep(self._asked[event.id], event.evidence)
        self._next_block = head + 1

    def _keep(self, asked: _Asked, evidence: bytes) -> None:
        if asked.kind is CaseKind.RULE:
            rule = Rule(*_arguments("answer_rule", evidence)[1])
            self._rules[rule_hash(rule)] = rule
        elif asked.kind is CaseKind.UPDATE:
            _, _, leaf, _, chunk, _ = _arguments("answer_update_chunk", evidence)
            self._chunks.setdefault(bytes(leaf[3]), {})[asked.chunk] = bytes(chunk)
        elif asked.kind in _MODELS:
            _, _, _, chunk, _ = _arguments("answer_model_chunk", evidence)
            state = self._federation.round(asked.round_id)
            is_base = asked.kind is CaseKind.BASE_MODEL
            root = state.model_root if is_base else state.new_model_root
            self._chunks.setdefault(root, {})[asked.chunk] = bytes(chunk)

    def rule(self, digest: bytes) -> Rule | None:
        """Return a rule that was shown, by its hash."""
        return self._rules.get(digest)

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
        """Whether the answer to a demand for a chunk is on chain already."""
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


def _arguments(function: str, evidence: bytes) -> tuple[Any, ...]:
    """Return the arguments of an answer, whose selector the referee has checked."""
    values: tuple[Any, ...] = decode(examiner_function(function).inputs, evidence[4:])
    return values
