"""Scorers: an announced scoring document and the blobs it names, made into a scoring rule.

The document is canonical JSON in the store, named by its SHA-256, which is the rule's
``scoring_hash``::

    {"kind": "examples"}
    {"kind": "leave_one_out", "architecture": {...}, "evaluation": "<sha256>", "settings": {...}}

``evaluation`` is a safetensors blob with int32 ``inputs`` and int64 ``labels``, public by
agreement.
"""

import dataclasses
import hashlib
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors
from threadpoolctl import threadpool_limits

from coordinator.ports import ArtifactStore
from coordinator.protocol.commitments.digests import canonical_json
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.scores import (
    Architecture,
    Evaluate,
    LeaveOneOutSettings,
    ScoringRound,
    score,
    utility,
)
from coordinator.protocol.types import JsonObject, PreviousRound, RoundInput, Rule

NEEDS_PREVIOUS = frozenset({"leave_one_out"})


class RuleScorer:
    """A :class:`~coordinator.ports.Scorer` of one kind of the core's registry."""

    def __init__(
        self,
        kind: str,
        evaluate: Evaluate | None = None,
        settings: LeaveOneOutSettings | None = None,
    ) -> None:
        self._kind = kind
        self._evaluate = evaluate
        self._settings = settings
        self.needs_previous_round = kind in NEEDS_PREVIOUS

    def score(
        self, result: RoundInput, rule: Rule, seed: bytes, previous: PreviousRound | None
    ) -> list[int]:
        """Return one non-negative integer per entry, in order."""
        leaves = [entry.leaf for entry in result.entries]
        scored = ScoringRound(
            contributors=[leaf.contributor for leaf in leaves],
            examples=[leaf.examples for leaf in leaves],
            weights=[leaf.weight for leaf in leaves],
            updates=result.updates,
            base_model=result.base_model,
            rule=rule,
            seed=seed,
            velocity=result.velocity,
            previous=previous.updates if previous else (),
            previous_step=result.base_model - previous.base_model if previous else None,
        )
        # Many small products: threads of a BLAS would spend their time waiting for each other.
        with threadpool_limits(limits=1, user_api="blas"):
            return score(self._kind, scored, evaluate=self._evaluate, settings=self._settings)


def scoring_document(
    kind: str,
    *,
    architecture: Architecture | None = None,
    evaluation: bytes = b"",
    settings: LeaveOneOutSettings | None = None,
) -> JsonObject:
    """Return the document to announce; ``evaluation`` is the blob's SHA-256."""
    if architecture is None:
        return {"kind": kind}
    return {
        "kind": kind,
        "architecture": json.loads(architecture.to_json()),
        "evaluation": evaluation.hex(),
        "settings": dataclasses.asdict(settings or LeaveOneOutSettings()),
    }


def scoring_digest(document: JsonObject) -> bytes:
    """Return the ``scoring_hash`` a rule commits to."""
    return hashlib.sha256(canonical_json(document)).digest()


def scorer_from(document: JsonObject, store: ArtifactStore) -> RuleScorer:
    """Build the scorer of an announced document.

    Raises
    ------
    ConfigError
        If the document does not describe a scoring rule; names the key.
    BlobMissingError, BlobCorruptError
        If the evaluation set is not in the store as announced.
    """
    try:
        kind = str(document["kind"])
        if kind == "examples":
            return RuleScorer(kind)
        architecture = Architecture.from_json(json.dumps(document["architecture"]))
        blob = store.get_bytes(bytes.fromhex(document["evaluation"]))
        settings = LeaveOneOutSettings(**document["settings"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"scoring document: {type(error).__name__}: {error}") from error
    inputs, labels = decode_evaluation_set(blob)

    def evaluate(model: NDArray[np.int32]) -> int:
        return utility(architecture, model, inputs, labels)

    return RuleScorer(kind, evaluate, settings)


def encode_evaluation_set(inputs: NDArray[np.int32], labels: NDArray[np.int64]) -> bytes:
    """Return the blob of a public evaluation set.

    ``inputs`` has shape ``(n, *input_shape)`` in fixed point (``Architecture.activation_bits``),
    ``labels`` shape ``(n,)``.
    """
    return save_tensors({"inputs": inputs, "labels": labels})


def decode_evaluation_set(blob: bytes) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Read what :func:`encode_evaluation_set` wrote.

    Raises
    ------
    ConfigError
        If it is something else.
    """
    try:
        tensors: dict[str, NDArray[Any]] = load_tensors(blob)
        inputs, labels = tensors["inputs"], tensors["labels"]
    except (SafetensorError, KeyError, ValueError) as error:
        raise ConfigError(f"evaluation set: not a safetensors file of inputs: {error}") from error
    if inputs.dtype != np.int32 or labels.dtype != np.int64:
        raise ConfigError(
            f"evaluation set: dtypes {inputs.dtype}, {labels.dtype}, expected int32 and int64"
        )
    return inputs, labels
