"""What a federation agrees on, built from its settings: the same for simulation and founding.

Model, rule, scoring and plan follow from sections of the settings alone, so everybody who has them
works out the same bytes. Not handled: where the settings come from, and the terms of money.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from coordinator.protocol.canonical import canonical_json
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.numbers.fixed_point import quantise
from coordinator.protocol.numbers.manifest import Manifest, split_buffers
from coordinator.protocol.rules.rule import RULE_VERSION, validate_rule
from coordinator.protocol.scores.architecture import Architecture
from coordinator.protocol.types import DefinedRule, Int32Vector, JsonObject, Rule, UpdateLimits, Wei
from coordinator.service.plan import FederationPlan
from coordinator.service.scorers import encode_evaluation_set, scoring_digest, scoring_document
from coordinator.settings.agreement import FederationAgreement
from coordinator.settings.rules import Aggregator, Scoring
from coordinator.settings.terms import Numbers

STATISTICS_BITS: Final = 16
"""Of running statistics: they reach 32,768, in steps as large as batch norm's own epsilon."""
MOST_EXAMPLES: Final = (1 << 48) - 1
"""Examples that one contributor may claim; more is refused."""


@dataclass(frozen=True, slots=True)
class AgreedModel:
    """The model's layout and first values; ``vector`` has shape ``(d,)``, int32."""

    manifest: Manifest
    vector: Int32Vector


@dataclass(frozen=True, slots=True)
class AgreedScoring:
    """The scoring document, and the blobs that it names by their SHA-256."""

    document: JsonObject
    artifacts: tuple[bytes, ...] = ()

    @property
    def documents(self) -> tuple[bytes, ...]:
        """All that must be published for others to score alike."""
        return (canonical_json(self.document), *self.artifacts)


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """Public examples to score or test on, and what evaluates a model on them.

    ``inputs`` has shape ``(n, *input_shape)``, float32; ``labels`` shape ``(n,)``, int64.
    """

    architecture: Architecture
    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]

    def blob(self) -> bytes:
        """Return the bytes to publish: inputs in fixed point, and labels."""
        inputs = _fixed_point(self.inputs, self.architecture.activation_bits)
        return encode_evaluation_set(inputs, self.labels)


def agreed_model(
    arrays: Mapping[str, NDArray[np.generic]], numbers: Numbers, statistics: Sequence[str] = ()
) -> AgreedModel:
    """Return the layout and the quantised values of a model's float tensors, in their order.

    Integer buffers are no part of either: they travel beside the vector.

    Parameters
    ----------
    statistics
        Names of float tensors that are no parameters, such as running variances: they have
        ``STATISTICS_BITS`` fractional bits where the numbers say nothing else.

    Raises
    ------
    ConfigError
        If a pattern of ``numbers.scales`` fits no tensor.
    FedproofError
        If a value has no fixed-point form; names the tensor and the place.
    """
    floats, _ = split_buffers(arrays)
    manifest = Manifest.of(
        floats,
        scale_bits=numbers.scale_bits,
        chunk_values=numbers.chunk_values,
        scales=_scales(list(floats), numbers, statistics),
    )
    return AgreedModel(manifest, quantise(floats, manifest))


def _scales(names: Sequence[str], numbers: Numbers, statistics: Sequence[str]) -> dict[str, int]:
    """Return the scales of tensors of their own, by name."""
    scales = dict.fromkeys(statistics, min(STATISTICS_BITS, numbers.scale_bits))
    for pattern, bits in numbers.scales.items():
        fitting = [name for name in names if fnmatchcase(name, pattern)]
        if not fitting:
            raise ConfigError(
                f'numbers.scales: "{pattern}" fits no tensor; expected a name, or a pattern like '
                f'"*.running_var"; the model has {", ".join(names)[:200]}'
            )
        scales |= dict.fromkeys(fitting, bits)
    return scales


def agreed_scoring(scoring: Scoring, evaluation: EvaluationSet | None) -> AgreedScoring:
    """Return the scoring document of a section.

    Raises
    ------
    ConfigError
        If the score is unknown, or needs an evaluation set and there is none.
    """
    if evaluation is None:
        return AgreedScoring(scoring_document(scoring.kind, options=scoring.options))
    architecture = evaluation.architecture
    blob = evaluation.blob()
    document = scoring_document(
        scoring.kind,
        options=scoring.options,
        architecture=architecture,
        evaluation=hashlib.sha256(blob).digest(),
    )
    return AgreedScoring(document, (blob,))


def agreed_rule(
    aggregator: Aggregator,
    numbers: Numbers,
    manifest: Manifest,
    scoring: JsonObject,
    min_contributors: int,
) -> Rule:
    """Return the rule to announce.

    Parameters
    ----------
    scoring
        The scoring document.
    min_contributors
        The fewest updates of a round.

    Returns
    -------
    A ``DefinedRule`` where name and options are committed by their digest (ADR 0131).

    Raises
    ------
    ConfigError
        If a field is out of its range, or two contradict each other.
    """
    if manifest.scales and "architecture" in scoring:
        raise ConfigError(
            f'scoring.kind = "{scoring["kind"]}" evaluates the model with one scale, but '
            f"{next(iter(manifest.scales))!r} has a scale of its own (numbers.scales)"
        )
    chosen = aggregator.chosen
    fields: dict[str, Any] = {
        "version": RULE_VERSION,
        "kind": chosen.kind,
        "weighting": int(aggregator.committed_weighting),
        "num_byzantine": aggregator.fault_bound,
        "examples_cap": aggregator.examples_cap,
        "server_lr_q16": aggregator.server_lr_q16,
        "server_momentum_q16": aggregator.server_momentum_q16,
        "manifest_hash": manifest.digest(),
        "dimension": manifest.dimension,
        "chunk_values": manifest.chunk_values,
        "scale_bits": manifest.scale_bits,
        "min_contributors": min_contributors,
        "norm_bound_q": numbers.norm_bound_q,
        "scoring_hash": scoring_digest(scoring),
    }
    definition = chosen.definition
    rule = DefinedRule(**fields, definition=definition) if definition else Rule(**fields)
    validate_rule(rule)
    return rule


def federation_plan(
    manifest: Manifest, rule: Rule, *, round_duration_s: int, min_stake_wei: Wei, sealed: bool
) -> FederationPlan:
    """Return the round service's plan under an agreement."""
    limits = UpdateLimits(
        max_bytes=4 * manifest.dimension,
        max_examples=MOST_EXAMPLES,
        min_stake_wei=min_stake_wei,
    )
    return FederationPlan(manifest, rule, round_duration_s, limits, sealed)


def plan_of(agreement: FederationAgreement, min_stake_wei: Wei) -> FederationPlan:
    """Return the plan of what is in ``federation.json``; the least stake is the contract's."""
    return federation_plan(
        agreement.core_manifest,
        agreement.core_rule,
        round_duration_s=agreement.round_duration_s,
        min_stake_wei=min_stake_wei,
        sealed=agreement.sealed,
    )


def _fixed_point(inputs: NDArray[np.float32], bits: int) -> NDArray[np.int32]:
    """Return inputs as integers with ``bits`` fractional bits, nearest, saturated."""
    scaled = np.rint(inputs.astype(np.float64) * (1 << bits))
    limits = np.iinfo(np.int32)
    return np.clip(scaled, limits.min, limits.max).astype(np.int32)
