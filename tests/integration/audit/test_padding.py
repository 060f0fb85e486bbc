"""A model of more than eight chunks with something behind the last parameter."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import fraud_bench
import numpy as np
import pytest
from fraud_bench import ETHER, GUILTY, FraudBench

from contracts.binding.referee import CaseRecord
from coordinator.audit.responder import Reply, Responder, honest_reply
from coordinator.audit.watch.rounds import RoundReader
from coordinator.protocol.commitments.merkle import leaf_hash, tree_levels
from coordinator.protocol.commitments.parameter_tree import ParameterTree, TreeLayout
from coordinator.protocol.disputes import CaseKind, DisputedRound, Evidence
from coordinator.protocol.disputes.cases import rule_words
from coordinator.protocol.numbers.manifest import Manifest, TensorSpec
from coordinator.protocol.types import RoundInput

Make = Callable[..., FraudBench]

D, CHUNK = 77, 8
CHUNKS = 10
MANIFEST = Manifest((TensorSpec("w", (7, 11), "float32"),), chunk_values=CHUNK)
PADDED = TreeLayout(MANIFEST.digest(), CHUNK, CHUNKS * CHUNK)


@pytest.fixture
def false_model(
    make_bench: Make, monkeypatch: pytest.MonkeyPatch
) -> tuple[FraudBench, ParameterTree]:
    """Two rounds of a model of ten chunks, the last not full; what the second committed to."""
    monkeypatch.setattr(fraud_bench, "MANIFEST", MANIFEST)
    monkeypatch.setattr(fraud_bench, "D", D)
    monkeypatch.setattr(fraud_bench, "INITIAL", np.arange(D, dtype=np.int32))
    made = make_bench(chain={"challenge_window_s": 600, "answer_s": 60})
    service: Any = made.service
    committed: list[np.ndarray] = []

    def result(honest: RoundInput) -> RoundInput:
        if service.state.round_id != GUILTY:
            return honest
        committed.append(padded(honest.new_model))
        return replace(honest, new_model_root=padded_root(committed[-1]))

    service.drafted_result = result
    made.play(watched=False)
    made.play(watched=False)
    return made, ParameterTree(committed[-1], PADDED)


def padded(model: np.ndarray) -> np.ndarray:
    """The model with a one behind its last parameter."""
    longer = np.zeros(PADDED.dimension, np.int32)
    longer[:D], longer[D] = model, 1
    return longer


def padded_root(longer: np.ndarray) -> bytes:
    """What a model with such a chunk is committed by."""
    chunks = longer.astype(">i4").tobytes()
    size = 4 * CHUNK
    leaves = [leaf_hash(chunks[i * size : (i + 1) * size]) for i in range(CHUNKS)]
    tree_root = tree_levels(leaves)[-1][0]
    return hashlib.sha256(b"\x02" + MANIFEST.digest() + tree_root + D.to_bytes(8, "big")).digest()


def test_the_last_chunk_is_demanded_first_and_cannot_be_answered(
    false_model: tuple[FraudBench, ParameterTree],
) -> None:
    bench, model = false_model
    chain = bench.chain

    def reply(round_: DisputedRound, case: CaseRecord) -> Reply | None:
        """Answer with the padded model's chunks; all but the last are right."""
        if case.kind is not CaseKind.NEW_MODEL:
            return honest_reply(round_, case)
        proof = model.proof(case.chunk)
        words = (case.case_id, int(case.kind), rule_words(round_.known_rule))
        return Evidence("answer_model_chunk", (*words, proof.chunk, proof.siblings))

    rounds = RoundReader(chain.federation, bench.public)
    answers = Responder(
        chain.federation, chain.referee, rounds, chain.identities.coordinator, reply
    )
    watcher = bench.watcher()
    while watcher.step() or answers.step():
        continue
    assert bench.said("found")[0].startswith("new model withheld")
    assert len(bench.said("asked")) == 1
    due = watcher.next_deadline()
    assert due is not None
    chain.wait_until(due)
    while watcher.step():
        continue
    assert (bench.statuses(), bench.reason(GUILTY)) == (["settled", "void"], "withheld data")
    assert bench.bond_wei == 8 * ETHER
