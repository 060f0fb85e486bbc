"""Computes an experiment's agreement before training: model, rule, scoring."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from coordinator.models.build import integer_architecture, try_own_model
from coordinator.models.networks import least_batch
from coordinator.models.shared import SharedModel
from coordinator.protocol.errors import ConfigError, MalformedUpdateError, OutsideCodeError
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
from coordinator.settings.losses import check_loss
from simulations.data.dataset import Dataset, hold_out
from simulations.experiment.base import SimulatedFederation
from simulations.experiment.models import build_model
from simulations.experiment.schema import Experiment
from simulations.partitions import Shares, divide
from simulations.seeds import generator


@dataclass(frozen=True)
class PublishedAgreement:
    """The plan and documents that a federation publishes before its first round.

    ``initial_model`` has shape ``(d,)``, fixed point; ``documents`` are the scoring document and
    the blobs that it refers to.
    """

    plan: FederationPlan
    initial_model: Int32Vector
    scoring: JsonObject
    documents: tuple[bytes, ...]


@dataclass(frozen=True)
class Agreement(PublishedAgreement):
    """An experiment's agreement, with its data.

    ``dataset`` is without the public evaluation examples that scoring holds out, if any.
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
        If rule and scoring contradict each other.
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
    """Return an experiment's agreement; deterministic.

    Raises
    ------
    ConfigError
        If model or loss do not fit the data, or there is too little data.
    """
    _check_loss(experiment, dataset)
    network = _built(experiment, dataset)
    evaluation, dataset = _evaluation_set(experiment, dataset, network)
    scoring = agreed_scoring(experiment.scoring, evaluation)
    model = _quantised(experiment, network)
    agreed = agree_on(experiment, model, scoring)
    shares = divide(experiment.partition, dataset, experiment.seed)
    _check_batches(experiment, network, shares)
    return Agreement(
        agreed.plan,
        agreed.initial_model,
        agreed.scoring,
        agreed.documents,
        network.state(),
        dataset,
        shares,
    )


def _check_loss(experiment: Experiment, dataset: Dataset) -> None:
    """Try a loss with options on as many classes as the data has."""
    training = experiment.training
    if training.loss_options:
        try:
            check_loss(training.loss, training.loss_options, dataset.num_classes)
        except ValueError as error:
            raise ConfigError(str(error)) from error


def try_own_code(experiment: Experiment, load: Callable[[], Dataset]) -> None:
    """Try a model, a rule and a score of one's own, if the experiment names any.

    Parameters
    ----------
    load
        Returns the experiment's data set; not called if there is nothing to try.

    Raises
    ------
    OutsideCodeError
        If one fails, or is or returns what it may not.
    """
    model = experiment.model
    if not (experiment.extensions or model.is_own):
        return
    dataset = load()
    agreed = agree(experiment, dataset)
    try_outside_code(agreed.plan.rule, agreed.scoring)
    if model.is_own:
        make = partial(_built, experiment, dataset)
        try_own_model(model, make, dataset.input_shape, dataset.num_classes)


def _built(experiment: Experiment, dataset: Dataset) -> SharedModel:
    return build_model(experiment.model, dataset.input_shape, dataset.num_classes, experiment.seed)


def _quantised(experiment: Experiment, network: SharedModel) -> AgreedModel:
    try:
        return agreed_model(network.arrays(), experiment.numbers, network.statistics)
    except MalformedUpdateError as error:  # no contributor's fault, but a setting's
        raise OutsideCodeError(f"{experiment.model.place}: {error}") from error


def _check_batches(experiment: Experiment, network: SharedModel, shares: Shares) -> None:
    least = least_batch(network.module)
    if experiment.training.batch_size < least:
        raise OutsideCodeError(
            f"training.batch_size = {experiment.training.batch_size}, but {experiment.model.place} "
            f"has batch norm, which needs at least {least} examples in a batch"
        )
    for name, indices in zip(shares.names, shares.indices, strict=True):
        if len(indices) < least:
            raise OutsideCodeError(
                f"{name} has {len(indices)} example to train on, but {experiment.model.place} has "
                f"batch norm, which needs at least {least} (partition.min_examples)"
            )


def _evaluation_set(
    experiment: Experiment, dataset: Dataset, network: SharedModel
) -> tuple[EvaluationSet | None, Dataset]:
    """Return the public examples that scoring needs, and the data that is left to train on."""
    scoring = experiment.scoring
    if not scoring.evaluation_size:
        return None, dataset
    described = integer_architecture(
        experiment.model,
        network,
        dataset.input_shape,
        dataset.num_classes,
        experiment.numbers.scale_bits,
        scoring.kind,
    )
    held_out = hold_out(
        dataset, scoring.evaluation_size, generator(experiment.seed, "evaluation set")
    )
    return EvaluationSet(described, held_out.x, held_out.y), held_out.rest
