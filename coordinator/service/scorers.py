"""Scorers: an announced scoring document and the blobs it names, made into a scoring rule.

The document is canonical JSON in the store, named by its SHA-256, which is the rule's
``scoring_hash``::

    {"kind": "examples"}
    {"kind": "leave_one_out", "architecture": {...}, "evaluation": "<sha256>", "settings": {...}}

A rule from outside has ``module:name`` as its kind; ``settings`` holds its options, if it has any.
``evaluation`` is a safetensors blob with int32 ``inputs`` and int64 ``labels``, public by
agreement.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors
from threadpoolctl import threadpool_limits

from coordinator.ports import ArtifactStore
from coordinator.protocol.commitments.digests import canonical_json
from coordinator.protocol.errors import ConfigError, UnknownRuleError
from coordinator.protocol.scores.architecture import Architecture
from coordinator.protocol.scores.base import ScoringRule
from coordinator.protocol.scores.exact_model import utility
from coordinator.protocol.scores.registry import SCORES, score
from coordinator.protocol.scores.scoring_round import Evaluate, ScoringRound
from coordinator.protocol.types import JsonObject, PreviousRound, RoundInput, Rule


class RuleScorer:
    """A :class:`~coordinator.ports.Scorer` of one kind of the core's registry.

    Parameters
    ----------
    kind
        Name of a scoring rule that this process has loaded.
    evaluate
        Utility of a model on the agreed evaluation set, for rules that need one.
    options
        Those of the rule that are not at their default.

    Raises
    ------
    UnknownRuleError
        If this process has not loaded the rule.
    ConfigError
        If an option is wrong.
    """

    def __init__(
        self,
        kind: str,
        evaluate: Evaluate | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        rule = loaded_score(kind)
        self._kind = kind
        self._evaluate = evaluate
        self._options = rule.settings(options or {})
        self.needs_previous_round = rule.needs_previous_round

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
            return score(self._kind, scored, evaluate=self._evaluate, options=self._options)


def loaded_score(kind: str) -> ScoringRule:
    """Return a scoring rule by the name a document gives; nothing is imported.

    Raises
    ------
    UnknownRuleError
        If this process has not loaded it.
    """
    rule = SCORES.loaded(kind)
    if rule is None:
        raise UnknownRuleError(
            f"scoring document: kind is {kind}, which this process has not loaded; expected one "
            f"of {', '.join(SCORES.names())}"
        )
    return rule


def scoring_document(
    kind: str,
    *,
    options: Mapping[str, Any] | None = None,
    architecture: Architecture | None = None,
    evaluation: bytes = b"",
) -> JsonObject:
    """Return the document to announce.

    Parameters
    ----------
    kind
        Name of a scoring rule that this process has loaded.
    options
        Those of the rule that are not at their default.
    architecture, evaluation
        Of a rule that needs an evaluation set: what evaluates a model, and the set's SHA-256.

    Raises
    ------
    ConfigError
        If the rule is unknown, an option is wrong, or a needed evaluation set is missing.
    """
    rule = loaded_score(kind)
    document = rule.document(kind, options or {})
    if not rule.needs_evaluation:
        return document
    if architecture is None:
        raise ConfigError(f"score {kind} needs an evaluation set, none was given")
    described = json.loads(architecture.to_json())
    return {**document, "architecture": described, "evaluation": evaluation.hex()}


def scoring_digest(document: JsonObject) -> bytes:
    """Return the ``scoring_hash`` a rule commits to."""
    return hashlib.sha256(canonical_json(document)).digest()


def scorer_from(document: JsonObject, store: ArtifactStore) -> RuleScorer:
    """Build the scorer of an announced document.

    Raises
    ------
    UnknownRuleError
        If it names a scoring rule that this process has not loaded.
    ConfigError
        If the document does not describe a scoring rule; names the key.
    BlobMissingError, BlobCorruptError
        If the evaluation set is not in the store as announced.
    """
    try:
        kind, options = str(document["kind"]), dict(document.get("settings", {}))
        rule = loaded_score(kind)
        if not rule.needs_evaluation:
            return RuleScorer(kind, None, options)
        architecture = Architecture.from_json(json.dumps(document["architecture"]))
        blob = store.get_bytes(bytes.fromhex(document["evaluation"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"scoring document: {type(error).__name__}: {error}") from error
    inputs, labels = decode_evaluation_set(blob)

    def evaluate(model: NDArray[np.int32]) -> int:
        return utility(architecture, model, inputs, labels)

    return RuleScorer(kind, evaluate, options)


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
