"""From an experiment to what a federation agrees on before training: model, rule, scoring."""

from dataclasses import dataclass

import torch

from coordinator.protocol.types import Int32Vector, JsonObject, Wei
from coordinator.service.agreement import (
    EvaluationSet,
    agreed_model,
    agreed_rule,
    agreed_scoring,
    federation_plan,
)
from coordinator.service.plan import FederationPlan
from simulations.data.dataset import Dataset, hold_out
from simulations.experiment.models import architecture, build_model
from simulations.experiment.schema import Experiment
from simulations.partitions import Shares, divide
from simulations.seeds import generator


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
    evaluation, dataset = _evaluation_set(experiment, dataset)
    scoring = agreed_scoring(experiment.scoring, evaluation)
    network = build_model(
        experiment.model, dataset.input_shape, dataset.num_classes, experiment.seed
    )
    state = network.state_dict()
    model = agreed_model({k: v.numpy() for k, v in state.items()}, experiment.numbers)
    rule = agreed_rule(
        experiment.aggregator,
        experiment.numbers,
        model.manifest,
        scoring.document,
        experiment.cohort.min_contributors,
    )
    plan = federation_plan(
        model.manifest,
        rule,
        round_duration_s=experiment.chain.round_deadline_s,
        min_stake_wei=Wei(experiment.stake.minimum_wei),
        sealed=experiment.cohort.sealed,
    )
    shares = divide(experiment.partition, dataset, experiment.seed)
    return Agreement(
        plan, model.vector, state, scoring.document, scoring.artifacts, dataset, shares
    )


def _evaluation_set(
    experiment: Experiment, dataset: Dataset
) -> tuple[EvaluationSet | None, Dataset]:
    """Return the public examples that scoring needs, and the data that is left to train on."""
    size = experiment.scoring.evaluation_size
    if not size:
        return None, dataset
    held_out = hold_out(dataset, size, generator(experiment.seed, "evaluation set"))
    described = architecture(
        experiment.model,
        dataset.input_shape,
        dataset.num_classes,
        experiment.numbers.scale_bits,
    )
    return EvaluationSet(described, held_out.x, held_out.y), held_out.rest
