"""The whole experiment: its sections, the rules that span them, its digest."""

import hashlib
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, ModelWrapValidatorHandler, model_validator
from pydantic_core import PydanticCustomError

from coordinator.protocol.canonical import canonical_json
from coordinator.settings.base import Section
from coordinator.settings.learning import CheckedTraining, MlpModel, Model, Training
from coordinator.settings.rules import (
    AnyAggregator,
    AnyScoring,
    aggregator_section,
    scoring_section,
)
from coordinator.settings.terms import (
    Numbers,
    Rewards,
    Stake,
)
from simulations.attacks import contributor, coordinator
from simulations.data import Data
from simulations.data.digits import DigitsData
from simulations.experiment.evaluation import Evaluation
from simulations.experiment.federation import Chain, Cohort, Watcher
from simulations.partitions import Partition
from simulations.partitions.iid import IidPartition

ANSWER_S = 600
QUESTIONS_IN_UNBONDING = 5
"""A stretched answer and the time to refute it must end before a bond can leave."""


class Experiment(Section):
    """One experiment, one file. Build it with :func:`simulations.experiment.load.load_experiment`.

    Every field has a default; the fields whose 0 means "work it out" hold the worked-out
    number once validated, so that the digest covers what really runs.
    """

    format: Literal["fedproof-experiment-1"] = "fedproof-experiment-1"
    name: str = Field(default="experiment", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    seed: int = Field(default=1, ge=0, lt=2**63)
    rounds: int = Field(default=5, ge=1, le=1_000_000)
    data: Data = DigitsData()
    partition: Partition = IidPartition()
    model: Model = MlpModel()
    training: CheckedTraining = Training()
    cohort: Cohort = Cohort()
    aggregator: AnyAggregator = aggregator_section("fedavg")
    scoring: AnyScoring = scoring_section("examples")
    stake: Stake = Stake()
    rewards: Rewards = Rewards()
    chain: Chain = Chain()
    numbers: Numbers = Numbers()
    evaluation: Evaluation = Evaluation()
    watcher: Watcher = Watcher()
    behaviours: list[contributor.BehaviourTable] = Field(default=[])
    coordinator_attacks: list[coordinator.AttackTable] = Field(default=[])

    @model_validator(mode="wrap")
    @classmethod
    def _resolve(cls, raw: Any, handler: ModelWrapValidatorHandler["Experiment"]) -> "Experiment":
        experiment = handler(raw)
        resolved = experiment.model_copy(
            update={
                "cohort": _cohort(experiment),
                "rewards": _rewards(experiment),
                "stake": _stake(experiment),
                "chain": _chain(experiment),
            }
        )
        for fault in _contradictions(resolved):
            raise PydanticCustomError("contradiction", "{fault}", {"fault": fault})
        return resolved

    def canonical_json(self) -> bytes:
        """Return the only bytes this experiment has: sorted keys, no spaces, wei as text."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def digest(self) -> bytes:
        """SHA-256 of :meth:`canonical_json`, 32 bytes."""
        return hashlib.sha256(self.canonical_json()).digest()


def _cohort(experiment: Experiment) -> Cohort:
    cohort = experiment.cohort
    return cohort.model_copy(
        update={
            "size": cohort.size or experiment.partition.clients,
            "min_contributors": cohort.min_contributors or experiment.aggregator.fewest,
        }
    )


def _rewards(experiment: Experiment) -> Rewards:
    rewards = experiment.rewards
    needed = experiment.rounds * rewards.round_budget_wei
    return rewards.model_copy(update={"pool_wei": rewards.pool_wei or needed})


def _stake(experiment: Experiment) -> Stake:
    stake = experiment.stake
    minimum = stake.coordinator_minimum_wei or stake.coordinator_bond_wei
    return stake.model_copy(update={"coordinator_minimum_wei": minimum})


def _chain(experiment: Experiment) -> Chain:
    chain = experiment.chain
    longest = max(1, chain.unbonding_s // QUESTIONS_IN_UNBONDING)
    return chain.model_copy(update={"answer_s": chain.answer_s or min(ANSWER_S, longest)})


def _contradictions(experiment: Experiment) -> Iterator[str]:
    yield from _cohort_faults(experiment)
    yield from _data_faults(experiment)
    yield from _money_and_time_faults(experiment)
    yield from _behaviour_faults(experiment)
    yield from _attack_faults(experiment)


def _cohort_faults(experiment: Experiment) -> Iterator[str]:
    cohort, clients = experiment.cohort, experiment.partition.clients
    if cohort.size > clients:
        yield f"cohort.size = {cohort.size} is more than partition.clients = {clients}"
    fewest = experiment.aggregator.fewest
    key, bound = experiment.aggregator.needs
    if fewest > cohort.size:
        yield (f"{key} needs cohort.size of at least {fewest} ({bound}), found {cohort.size}")
    if fewest > cohort.min_contributors:
        yield (
            f"cohort.min_contributors = {cohort.min_contributors} is below the {fewest} that "
            f"{key} needs ({bound})"
        )
    if cohort.min_contributors > cohort.size:
        yield (
            f"cohort.min_contributors = {cohort.min_contributors} is more than "
            f"cohort.size = {cohort.size}"
        )


def _data_faults(experiment: Experiment) -> Iterator[str]:
    data = experiment.data
    if experiment.model.kind == "cnn" and not data.has_images:
        yield f'model.kind = "cnn" needs images, but data.kind = "{data.kind}" has none'
    yield from data.faults()
    yield from experiment.partition.faults(data)


def _money_and_time_faults(experiment: Experiment) -> Iterator[str]:
    rewards, chain = experiment.rewards, experiment.chain
    needed = experiment.rounds * rewards.round_budget_wei
    if rewards.pool_wei < needed:
        yield (
            f"rewards.pool_wei = {rewards.pool_wei} does not cover rounds = {experiment.rounds} "
            f"times rewards.round_budget_wei = {rewards.round_budget_wei}, which is {needed}"
        )
    if chain.min_open_s >= chain.round_deadline_s:
        yield (
            f"chain.min_open_s = {chain.min_open_s} must be less than "
            f"chain.round_deadline_s = {chain.round_deadline_s}"
        )
    # An offence of a round can be proven until its window ends: the bond must still be there.
    lasting = chain.round_deadline_s + chain.challenge_window_s
    if chain.unbonding_s < lasting:
        yield (
            f"chain.unbonding_s = {chain.unbonding_s} must be at least chain.round_deadline_s + "
            f"chain.challenge_window_s = {lasting}, or a bond could leave before its offence is "
            "proven"
        )

    if QUESTIONS_IN_UNBONDING * chain.answer_s > chain.unbonding_s:
        yield (
            f"chain.answer_s = {chain.answer_s} must be at most a fifth of "
            f"chain.unbonding_s = {chain.unbonding_s}, or a bond could leave during a dispute"
        )
    stake = experiment.stake
    if stake.coordinator_minimum_wei > stake.coordinator_bond_wei:
        yield (
            f"stake.coordinator_minimum_wei = {stake.coordinator_minimum_wei} is more than "
            f"stake.coordinator_bond_wei = {stake.coordinator_bond_wei}: no round could open"
        )


def _attack_faults(experiment: Experiment) -> Iterator[str]:
    owner = dict[int, int]()
    surroundings = coordinator.Surroundings(
        experiment.partition.clients, experiment.chain.min_open_s
    )
    for index, attack in enumerate(experiment.coordinator_attacks):
        name = f"coordinator_attacks[{index}]"
        if attack.round > experiment.rounds:
            yield f"{name}.round = {attack.round} is after the last of rounds = {experiment.rounds}"
        if attack.round in owner:
            yield (
                f"{name}.round and coordinator_attacks[{owner[attack.round]}].round are both "
                f"{attack.round}; a round has one attack"
            )
        owner[attack.round] = index
        for fault in attack.faults(surroundings):
            yield f"{name}{fault}"


def _behaviour_faults(experiment: Experiment) -> Iterator[str]:
    clients, owner = experiment.partition.clients, dict[int, int]()
    surroundings = contributor.Surroundings(
        clients, experiment.cohort.size, experiment.rounds, experiment.cohort.sealed
    )
    for index, behaviour in enumerate(experiment.behaviours):
        for client in behaviour.clients:
            if client >= clients:
                yield (
                    f"behaviours[{index}].clients names client {client}, but "
                    f"partition.clients = {clients} numbers them 0 to {clients - 1}"
                )
            if client in owner:
                yield (
                    f"behaviours[{index}].clients and behaviours[{owner[client]}].clients both "
                    f"name client {client}; a client has one behaviour"
                )
            owner[client] = index
        for fault in behaviour.faults(surroundings):
            yield f"behaviours[{index}]{fault}"
        if behaviour.from_round > experiment.rounds:
            yield (
                f"behaviours[{index}].from_round = {behaviour.from_round} is after the last of "
                f"rounds = {experiment.rounds}"
            )
