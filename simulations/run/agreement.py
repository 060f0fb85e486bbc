"""From an experiment to what a federation agrees on before training: model, rule, scoring."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from coordinator.protocol.numbers.fixed_point import quantise
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.rules.rule import RuleKind, Weighting
from coordinator.protocol.types import Int32Vector, JsonObject, Rule, UpdateLimits, Wei
from coordinator.service.plan import FederationPlan
from coordinator.service.scorers import encode_evaluation_set, scoring_digest, scoring_document
from simulations.data.dataset import Dataset, hold_out
from simulations.experiment import Experiment
from simulations.experiment.models import architecture, build_model
from simulations.partitions import Shares, divide
from simulations.seeds import generator

_KINDS = {
    "fedavg": RuleKind.FEDAVG,
    "median": RuleKind.MEDIAN,
    "trimmed_mean": RuleKind.TRIMMED_MEAN,
}
_MOST_EXAMPLES = (1 << 48) - 1


@dataclass(frozen=True)
class Agreement:
    """What everybody of a simulated federation knows before the first round.

    ``dataset`` is without the public evaluation examples that scoring may have taken out;
    ``artifacts`` are opaque blobs to publish with the plan.
    """

    plan: FederationPlan
    initial_model: Int32Vector
    initial_state: dict[str, torch.Tensor]
    scoring: JsonObject
    artifacts: tuple[bytes, ...]
    dataset: Dataset
    shares: Shares


def agree(experiment: Experiment, dataset: Dataset) -> Agreement:
    """Work out an experiment's agreement; deterministic.

    Raises
    ------
    ConfigError
        If the model does not fit the data, or there is too little data.
    """
    scoring, artifacts, dataset = _scoring(experiment, dataset)
    model = build_model(experiment.model, dataset.input_shape, dataset.num_classes, experiment.seed)
    state = model.state_dict()
    arrays: dict[str, NDArray[np.generic]] = {k: v.numpy() for k, v in state.items()}
    numbers = experiment.numbers
    manifest = Manifest.of(arrays, scale_bits=numbers.scale_bits, chunk_values=numbers.chunk_values)
    plan = FederationPlan(
        manifest=manifest,
        rule=_rule(experiment, manifest, scoring_digest(scoring)),
        round_duration_s=experiment.chain.round_deadline_s,
        limits=UpdateLimits(
            max_bytes=4 * manifest.dimension,
            max_examples=_MOST_EXAMPLES,
            min_stake_wei=Wei(experiment.stake.minimum_wei),
        ),
        sealed=experiment.cohort.sealed,
    )
    shares = divide(experiment.partition, dataset, experiment.seed)
    vector = quantise(arrays, manifest)
    return Agreement(plan, vector, state, scoring, artifacts, dataset, shares)


def _fixed_point(features: NDArray[np.float32], bits: int) -> NDArray[np.int32]:
    """Return features as integers with ``bits`` fractional bits, nearest, saturated."""
    scaled = np.rint(features.astype(np.float64) * (1 << bits))
    limits = np.iinfo(np.int32)
    return np.clip(scaled, limits.min, limits.max).astype(np.int32)


def _rule(experiment: Experiment, manifest: Manifest, scoring_hash: bytes) -> Rule:
    aggregator = experiment.aggregator
    weighting = Weighting.UNIFORM
    if aggregator.kind == "fedavg" and aggregator.weighting == "examples":
        weighting = Weighting.EXAMPLES
    return Rule(
        version=1,
        kind=int(_KINDS[aggregator.kind]),
        weighting=int(weighting),
        num_byzantine=aggregator.num_byzantine if aggregator.kind == "trimmed_mean" else 0,
        examples_cap=aggregator.examples_cap,
        server_lr_q16=aggregator.server_lr_q16,
        server_momentum_q16=aggregator.server_momentum_q16,
        manifest_hash=manifest.digest(),
        dimension=manifest.dimension,
        chunk_values=manifest.chunk_values,
        scale_bits=manifest.scale_bits,
        min_contributors=experiment.cohort.min_contributors,
        norm_bound_q=experiment.numbers.norm_bound_q,
        scoring_hash=scoring_hash,
    )


def _scoring(
    experiment: Experiment, dataset: Dataset
) -> tuple[JsonObject, tuple[bytes, ...], Dataset]:
    """Return the scoring document, the blobs it names, and the data that is left to train on."""
    scoring = experiment.scoring
    if scoring.kind == "examples":
        return scoring_document("examples"), (), dataset
    chance = generator(experiment.seed, "evaluation set")
    held_out = hold_out(dataset, scoring.evaluation_examples, chance)
    described = architecture(
        experiment.model,
        dataset.input_shape,
        dataset.num_classes,
        experiment.numbers.scale_bits,
    )
    blob = encode_evaluation_set(_fixed_point(held_out.x, described.activation_bits), held_out.y)
    document = scoring_document(
        "leave_one_out", architecture=described, evaluation=hashlib.sha256(blob).digest()
    )
    return document, (blob,), held_out.rest
