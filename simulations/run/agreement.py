"""From an experiment to what a federation agrees on before training: model, rule, scoring."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from coordinator.protocol.types import Int32Vector, JsonObject, Wei
from coordinator.service.agreement import (
    AgreedModel,
    AgreedScoring,
    EvaluationSet,
    agreed_model,
    agreed_rule,
    agreed_scoring,
    federation_plan,
)
from coordinator.service.plan import FederationPlan
from coordinator.service.trial import try_outside_code
from simulations.data.dataset import Dataset, hold_out
from simulations.experiment.base import SimulatedFederation
from simulations.experiment.models import architecture, build_model
from simulations.experiment.schema import Experiment
from simulations.partitions import Shares, divide
from simulations.seeds import generator


@dataclass(frozen=True)
class PublishedAgreement:
    """What a federation publishes before its first round.

    ``initial_model`` has shape ``(d,)``, fixed point; ``documents`` are the scoring document and
    the blobs that it names.
    """

    plan: FederationPlan
    initial_model: Int32Vector
    scoring: JsonObject
    documents: tuple[bytes, ...]


@dataclass(frozen=True)
class Agreement(PublishedAgreement):
    """What everybody of an experiment knows before the first round.

    ``dataset`` is without the public evaluation examples that scoring may have taken out.
    """

    initial_state: dict[str, torch.Tensor]
    dataset: Dataset
    shares: Shares


def agree_on(
    federation: SimulatedFederation, model: AgreedModel, scoring: AgreedScoring
) -> PublishedAgreement:
    """Return rule and plan of a federation that trains ``model``; deterministic.

    Raises
    ------
    ConfigError
        If rule or scoring do not fit each other.
    """
    rule = agreed_rule(
        federation.aggregator,
        federation.numbers,
        model.manifest,
        scoring.document,
        federation.cohort.min_contributors,
    )
    plan = federation_plan(
        model.manifest,
        rule,
        round_duration_s=federation.chain.round_deadline_s,
        min_stake_wei=Wei(federation.stake.minimum_wei),
        sealed=federation.cohort.sealed,
    )
    return PublishedAgreement(plan, model.vector, scoring.document, scoring.documents)


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
    agreed = agree_on(experiment, model, scoring)
    shares = divide(experiment.partition, dataset, experiment.seed)
    return Agreement(
        agreed.plan,
        agreed.initial_model,
        agreed.scoring,
        agreed.documents,
        state,
        dataset,
        shares,
    )


def try_own_code(experiment: Experiment, load: Callable[[], Dataset]) -> None:
    """Try a rule and a score from outside the package, if the experiment names any.

    Parameters
    ----------
    load
        Returns the experiment's data set; not called where there is nothing to try.

    Raises
    ------
    OutsideCodeError
        If one fails, or returns what none may return.
    """
    if experiment.extensions:
        agreed = agree(experiment, load())
        try_outside_code(agreed.plan.rule, agreed.scoring)


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
