"""From ``federation.toml`` to what a federation agrees on: model, rule, scoring, terms of money.

Everything but the coordinator's address is decided by the file, so everybody who has it can work
out the agreement again, and compare its digest with the one on chain.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.binding.records import Terms
from coordinator.founding.first_model import FirstModel, first_model
from coordinator.ledger.deployment import Deployment, contract_address
from coordinator.ports import ArtifactStore
from coordinator.protocol.canonical import parse_json
from coordinator.protocol.commitments.documents import rule_document
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.scores.architecture import Architecture, ModelShape
from coordinator.protocol.types import Address, Int32Vector, Wei
from coordinator.service.agreement import (
    EvaluationSet,
    agreed_rule,
    agreed_scoring,
    plan_of,
)
from coordinator.service.archive import publish_plan
from coordinator.settings.agreement import FederationAgreement
from coordinator.settings.evaluation import Evaluation
from coordinator.settings.founding import Founding
from coordinator.settings.learning import Features
from coordinator.settings.participant import CsvData, NumpyData

FUNDED_ROUNDS = 100
"""Rounds the pool is filled for, where neither it nor the number of rounds is given."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """What a founding file comes to.

    ``initial_model`` has shape ``(d,)``, int32; ``artifacts`` are blobs to publish with the plan,
    by their SHA-256.
    """

    agreement: FederationAgreement
    deployment: Deployment
    initial_model: Int32Vector
    artifacts: tuple[bytes, ...]

    def publish(self, store: ArtifactStore) -> None:
        """Put into a store what a verifier needs before the first round."""
        plan = plan_of(self.agreement, self.deployment.terms.min_stake_wei)
        publish_plan(store, plan, self.initial_model, self.artifacts)


class Examples(Protocol):
    """Examples with their labels, as a loader gives them.

    ``x`` has shape ``(n, ...)``, float32; ``y`` has shape ``(n,)``, integer classes.
    """

    @property
    def x(self) -> NDArray[np.float32]:
        """Inputs."""
        ...

    @property
    def y(self) -> NDArray[np.int64]:
        """Labels."""
        ...

    def __len__(self) -> int: ...

    def first(self, count: int) -> "Examples":
        """Return the first ``count`` examples."""
        ...


LoadExamples = Callable[[CsvData | NumpyData, Features, ModelShape, Path], Examples]
"""Reads a file of examples: section, agreed features, model, folder of relative paths."""


def agree(
    founding: Founding, coordinator: Address, folder: Path, load_examples: LoadExamples
) -> Agreed:
    """Work out an agreement; the same file and address give the same bytes.

    Parameters
    ----------
    coordinator
        The fresh account that deploys: the contract's address follows from it.
    folder
        What relative paths of the file are relative to.
    load_examples
        Reads the public evaluation data; usually ``clients.data.load.load_data``.

    Raises
    ------
    ConfigError
        If the model does not fit the input, or the evaluation data not the model.
    """
    _check_features(founding)
    model = founding.model.in_folder(folder)
    first = first_model(founding.model_copy(update={"model": model}))
    scoring = agreed_scoring(founding.scoring, _scored_on(founding, first, folder, load_examples))
    evaluation, public = _agreed_evaluation(founding, first, folder, load_examples)
    quantised = first.quantised
    rule = agreed_rule(
        founding.aggregator,
        founding.numbers,
        quantised.manifest,
        scoring.document,
        founding.min_contributors,
    )
    agreement = FederationAgreement(
        name=founding.name,
        chain_id=founding.chain.chain_id,
        contract=contract_address(coordinator),
        initial_model_root=parameter_root(quantised.vector, quantised.manifest).hex(),
        manifest=_document(quantised.manifest.to_json()),
        rule=rule_document(rule),
        scoring=scoring.document,
        architecture=_described(first),
        model=first.module,
        training=founding.training,
        features=founding.features,
        evaluation=evaluation,
        config=founding.config,
        sealed=founding.round.sealed,
        access=founding.access,
        round_duration_s=founding.round.duration_s,
    )
    deployment = _deployment(founding, agreement, coordinator)
    return Agreed(agreement, deployment, quantised.vector, (*scoring.documents, *public))


def _described(first: FirstModel) -> Any:
    return None if first.architecture is None else _document(first.architecture.to_json().encode())


def _scored_on(
    founding: Founding, first: FirstModel, folder: Path, load_examples: LoadExamples
) -> EvaluationSet | None:
    """Return the public examples that scoring needs, if any."""
    wanted = founding.scoring.evaluation_size
    if not wanted:
        return None
    described = first.in_integers(founding.scoring.kind)
    path, key = founding.evaluation_data, "scoring.evaluation_examples"
    return _public_set(founding, described, folder, load_examples, path, wanted, key)


def _agreed_evaluation(
    founding: Founding, first: FirstModel, folder: Path, load_examples: LoadExamples
) -> tuple[Evaluation | None, Sequence[bytes]]:
    """Return what is agreed of evaluation, and the blob of the public set that it names, if any."""
    section = founding.evaluation
    if section is None or not section.data:
        return (None if section is None else section.agreed("")), ()
    if first.architecture is None:
        raise ConfigError(
            f"evaluation.data: the coordinator evaluates models of Fedproof's own layers, and "
            f"{founding.model.place} is none; leave it out, participants evaluate all the same"
        )
    key = "evaluation.examples"
    blob = _public_set(
        founding,
        first.architecture,
        folder,
        load_examples,
        section.data,
        section.examples,
        key,
    ).blob()
    return section.agreed(hashlib.sha256(blob).hexdigest()), (blob,)


def _public_set(
    founding: Founding,
    described: Architecture,
    folder: Path,
    load_examples: LoadExamples,
    path: str,
    wanted: int,
    key: str,
) -> EvaluationSet:
    """Return the first examples of a public file, as many as ``key`` asks for; 0 is all."""
    section = CsvData(path=path) if path.endswith(".csv") else NumpyData(kind="numpy", path=path)
    public = load_examples(section, founding.features, described, folder)
    if len(public) < wanted:
        raise ConfigError(f"{folder / path}: {len(public)} examples, {key} asks for {wanted}")
    public = public.first(wanted or len(public))
    return EvaluationSet(described, public.x, public.y)


def _deployment(
    founding: Founding, agreement: FederationAgreement, coordinator: Address
) -> Deployment:
    stake, windows = founding.stake, founding.windows
    terms = Terms(
        coordinator=coordinator,
        initial_model_root=bytes.fromhex(agreement.initial_model_root),
        config_digest=agreement.digest,
        min_stake_wei=Wei(stake.minimum_wei),
        min_coordinator_bond_wei=Wei(stake.coordinator_minimum_wei or stake.coordinator_bond_wei),
        round_budget_wei=Wei(founding.rewards.round_budget_wei),
        min_contributors=founding.min_contributors,
        min_open_s=windows.min_open_s,
        challenge_window_s=windows.challenge_window_s,
        unbonding_period_s=windows.unbonding_s,
        contributor_slash_bps=stake.contributor_slash_bps,
        coordinator_slash_bps=stake.coordinator_slash_bps,
    )
    rounds = founding.round.rounds or FUNDED_ROUNDS
    return Deployment(
        terms=terms,
        dispute_deposit_wei=Wei(stake.dispute_deposit_wei),
        answer_s=windows.answer_s,
        coordinator_bond_wei=Wei(stake.coordinator_bond_wei),
        pool_wei=Wei(founding.rewards.pool_wei or rounds * founding.rewards.round_budget_wei),
    )


def _check_features(founding: Founding) -> None:
    names, shape = founding.features.names, founding.input.shape
    if names and shape != [len(names)]:
        raise ConfigError(
            f"features.names has {len(names)} columns, but input.shape is {shape}; expected "
            f"[{len(names)}]"
        )


def _document(data: bytes) -> Any:
    return parse_json(data, "a document of our own")
