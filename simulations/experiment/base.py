"""The settings of every simulated federation: contributors, rule, money, windows, numbers.

An experiment adds data, model and attacks; in a federation for a user's own Flower app
(:mod:`simulations.experiment.app`) the app has them. Not handled: reading the settings.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Self

from pydantic import Field, ModelWrapValidatorHandler, model_validator
from pydantic_core import PydanticCustomError

from coordinator.protocol.canonical import canonical_json
from coordinator.settings.base import Section
from coordinator.settings.rules import (
    AnyAggregator,
    AnyScoring,
    aggregator_section,
    outside_kinds,
    scoring_section,
)
from coordinator.settings.terms import Numbers, Rewards, Stake
from simulations.experiment.federation import Chain, Cohort, Watcher

ANSWER_S = 600
QUESTIONS_IN_UNBONDING = 5
"""``unbonding_s`` must cover this many times ``answer_s``.

An answer at its deadline and the time to refute it must end before a bond can be withdrawn.
"""


class SimulatedFederation(Section):
    """The sections from which a simulation's chain, keys, folder and round service are made.

    Every field has a default. Fields whose 0 means a computed default hold the computed number
    once validated, so that the digest covers the values that are used.
    """

    name: str = Field(default="experiment", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    seed: int = Field(default=1, ge=0, lt=2**63)
    rounds: int = Field(default=5, ge=1, le=1_000_000)
    cohort: Cohort = Cohort()
    aggregator: AnyAggregator = aggregator_section("fedavg")
    scoring: AnyScoring = scoring_section("examples")
    stake: Stake = Stake()
    rewards: Rewards = Rewards()
    chain: Chain = Chain()
    numbers: Numbers = Numbers()

    @property
    @abstractmethod
    def clients(self) -> int:
        """Number of contributors; they are numbered from 0."""

    @property
    @abstractmethod
    def clients_key(self) -> str:
        """Key of the number of contributors, for messages."""

    @property
    def extensions(self) -> tuple[str, ...]:
        """The rule and the score from outside the package, which a verifier needs too."""
        return outside_kinds(self.aggregator, self.scoring)

    @property
    def watching(self) -> Watcher:
        """The settings of the watcher; there is none without a section for it."""
        return Watcher()

    @property
    def unbonded(self) -> frozenset[int]:
        """The contributors that do not bond a stake."""
        return frozenset()

    def contradictions(self) -> Iterator[str]:
        """Yield a sentence for each contradiction between sections."""
        yield from self.cohort_faults()
        yield from self.money_and_time_faults()

    @model_validator(mode="wrap")
    @classmethod
    def _resolve(cls, raw: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        experiment = handler(raw)
        resolved = experiment.model_copy(
            update={
                "cohort": _cohort(experiment),
                "rewards": _rewards(experiment),
                "stake": _stake(experiment),
                "chain": _chain(experiment),
            }
        )
        for fault in resolved.contradictions():
            raise PydanticCustomError("contradiction", "{fault}", {"fault": fault})
        return resolved

    def canonical_json(self) -> bytes:
        """Return the settings as canonical JSON: sorted keys, no spaces, wei as text."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def digest(self) -> bytes:
        """SHA-256 of :meth:`canonical_json`, 32 bytes."""
        return hashlib.sha256(self.canonical_json()).digest()

    def cohort_faults(self) -> Iterator[str]:
        """Yield a sentence for each contradiction between the sizes of a round."""
        cohort, clients = self.cohort, self.clients
        if cohort.size > clients:
            yield f"cohort.size = {cohort.size} is more than {self.clients_key} = {clients}"
        fewest = self.aggregator.fewest
        key, bound = self.aggregator.needs
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

    def money_and_time_faults(self) -> Iterator[str]:
        """Yield a sentence for each contradiction between amounts and windows."""
        rewards, chain = self.rewards, self.chain
        needed = self.rounds * rewards.round_budget_wei
        if rewards.pool_wei < needed:
            yield (
                f"rewards.pool_wei = {rewards.pool_wei} does not cover rounds = {self.rounds} "
                f"times rewards.round_budget_wei = {rewards.round_budget_wei}, which is {needed}"
            )
        if chain.min_open_s >= chain.round_deadline_s:
            yield (
                f"chain.min_open_s = {chain.min_open_s} must be less than "
                f"chain.round_deadline_s = {chain.round_deadline_s}"
            )
        # An offence of a round can be proven until its window ends: the bond must last as long.
        provable_s = chain.round_deadline_s + chain.challenge_window_s
        if chain.unbonding_s < provable_s:
            yield (
                f"chain.unbonding_s = {chain.unbonding_s} must be at least "
                f"chain.round_deadline_s + chain.challenge_window_s = {provable_s}, or a bond "
                "could leave before its offence is proven"
            )

        if QUESTIONS_IN_UNBONDING * chain.answer_s > chain.unbonding_s:
            yield (
                f"chain.answer_s = {chain.answer_s} must be at most a fifth of "
                f"chain.unbonding_s = {chain.unbonding_s}, or a bond could leave during a dispute"
            )
        stake = self.stake
        if stake.coordinator_minimum_wei > stake.coordinator_bond_wei:
            yield (
                f"stake.coordinator_minimum_wei = {stake.coordinator_minimum_wei} is more than "
                f"stake.coordinator_bond_wei = {stake.coordinator_bond_wei}: no round could open"
            )


def _cohort(experiment: SimulatedFederation) -> Cohort:
    cohort = experiment.cohort
    return cohort.model_copy(
        update={
            "size": cohort.size or experiment.clients,
            "min_contributors": cohort.min_contributors or experiment.aggregator.fewest,
        }
    )


def _rewards(experiment: SimulatedFederation) -> Rewards:
    rewards = experiment.rewards
    needed = experiment.rounds * rewards.round_budget_wei
    return rewards.model_copy(update={"pool_wei": rewards.pool_wei or needed})


def _stake(experiment: SimulatedFederation) -> Stake:
    stake = experiment.stake
    minimum = stake.coordinator_minimum_wei or stake.coordinator_bond_wei
    return stake.model_copy(update={"coordinator_minimum_wei": minimum})


def _chain(experiment: SimulatedFederation) -> Chain:
    chain = experiment.chain
    longest = max(1, chain.unbonding_s // QUESTIONS_IN_UNBONDING)
    return chain.model_copy(update={"answer_s": chain.answer_s or min(ANSWER_S, longest)})
