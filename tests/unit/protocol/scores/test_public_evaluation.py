"""A committed model on the agreed public set: exact, and the same for whoever computes it."""

import json

import numpy as np
import pytest
from memory_store import MemoryStore

from coordinator.protocol.errors import BlobMissingError, ConfigError
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.round.evaluation import PublicResult
from coordinator.protocol.scores.architecture import Architecture, Linear
from coordinator.service.public_evaluation import PublicSet
from coordinator.service.scorers import encode_evaluation_set
from coordinator.settings.agreement import FederationAgreement
from coordinator.settings.evaluation import Evaluation

TWO = Architecture((Linear(1, 2, bias=False),), (1,), scale_bits=4, activation_bits=8)
ONE = Architecture((Linear(1, 1, bias=False),), (1,), scale_bits=4, activation_bits=8)
INPUTS = np.array([[-256], [256], [512], [0]], np.int32)
LABELS = np.array([0, 1, 0, 0], np.int64)


def test_by_hand():
    # logits are (0, x): -1, 1, 2 and 0; of equal ones the first class wins
    found = PublicSet(TWO, INPUTS, LABELS).measure(np.array([0, 16], np.int32))
    assert (found.examples, found.correct, found.accuracy) == (4, 3, 0.75)
    by_hand = [np.log1p(np.exp(-1)), np.log1p(np.exp(-1)), np.log1p(np.exp(2)), np.log(2)]
    assert found.loss == pytest.approx(np.mean(by_hand), rel=1e-12)


def test_a_single_logit_is_the_second_classs():
    two = PublicSet(TWO, INPUTS, LABELS).measure(np.array([0, 16], np.int32))
    assert PublicSet(ONE, INPUTS, LABELS).measure(np.array([16], np.int32)) == two


def test_in_batches_it_is_the_same():
    many = 300
    few = PublicSet(TWO, INPUTS, LABELS).measure(np.array([0, 16], np.int32))
    inputs, labels = np.tile(INPUTS, (many, 1)), np.tile(LABELS, many)
    found = PublicSet(TWO, inputs, labels).measure(np.array([0, 16], np.int32))
    assert (found.examples, found.correct) == (4 * many, 3 * many)
    assert found.loss == pytest.approx(few.loss, rel=1e-12)


def test_large_outputs_have_a_finite_loss_and_a_model_without_outputs_none():
    largest = np.array([-(2**31), 2**31 - 1], np.int32)
    found = PublicSet(TWO, INPUTS, LABELS).measure(largest)
    assert found.loss is not None
    assert np.isfinite(found.loss)
    wide = Architecture((Linear(4, 2, bias=False),), (4,), scale_bits=4, activation_bits=8)
    inputs, model = np.full((1, 4), 2**31 - 1, np.int32), np.full(8, 2**31 - 1, np.int32)
    found = PublicSet(wide, inputs, np.zeros(1, np.int64)).measure(model)
    assert found == PublicResult(1, 0, None)


def agreement(digest: str, described: Architecture | None = TWO) -> FederationAgreement:
    manifest = Manifest.of({"w": np.zeros(2, np.float32)})
    return FederationAgreement(
        name="x",
        chain_id=1,
        contract="0x" + "11" * 20,
        initial_model_root="00" * 32,
        manifest=json.loads(manifest.to_json()),
        rule={},
        scoring={},
        architecture=None if described is None else json.loads(described.to_json()),
        evaluation=Evaluation(public_set=digest),
        round_duration_s=1,
    )


def test_the_agreed_set_comes_from_the_store():
    store = MemoryStore()
    digest = store.put_bytes(encode_evaluation_set(INPUTS, LABELS)).hex()
    found = PublicSet.agreed(agreement(digest), store)
    assert found is not None
    np.testing.assert_array_equal(found.inputs, INPUTS)
    np.testing.assert_array_equal(found.labels, LABELS)
    assert PublicSet.agreed(agreement(""), store) is None
    with pytest.raises(BlobMissingError):
        PublicSet.agreed(agreement("11" * 32), store)
    with pytest.raises(ConfigError, match="needs a model with an architecture"):
        PublicSet.agreed(agreement(digest, None), store)


def test_an_agreement_without_a_public_set_says_nothing_of_one():
    assert json.loads(agreement("").canonical_json())["evaluation"] == {
        "every": 1, "test_share": 0.2
    }  # fmt: skip
    digest = "ab" * 32
    with_it = agreement(digest)
    assert json.loads(with_it.canonical_json())["evaluation"]["public_set"] == digest
    assert FederationAgreement.model_validate_json(with_it.canonical_json()) == with_it
    assert with_it.digest != agreement("").digest
