"""``federation.toml``: the settings from which ``fedproof federation init`` founds a federation."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ModelWrapValidatorHandler, model_validator
from pydantic_core import PydanticCustomError

from coordinator.protocol.amounts import ETHER
from coordinator.settings.app_config import AppConfig
from coordinator.settings.base import AddressText, Name, Port, PositiveWei, Section
from coordinator.settings.checked_training import CheckedTraining
from coordinator.settings.evaluation import FoundingEvaluation
from coordinator.settings.learning import Features, Training
from coordinator.settings.load import load_settings
from coordinator.settings.models import Model
from coordinator.settings.models.logistic import LogisticModel
from coordinator.settings.rules import (
    AnyAggregator,
    AnyScoring,
    aggregator_section,
    outside_kinds,
    scoring_section,
)
from coordinator.settings.terms import (
    Numbers,
    Rewards,
    Stake,
    Windows,
)


class FoundingChain(Section):
    """The chain: embedded (``rpc`` empty), or another node's JSON-RPC.

    On the embedded chain every participant starts with ``starting_balance_wei``.
    """

    rpc: str = Field(default="", pattern=r"^(https?://[^\s]+)?$")
    chain_id: int = Field(default=1337, ge=1, lt=2**53)
    starting_balance_wei: PositiveWei = 100 * ETHER


class FoundingHost(Section):
    """The coordinator's address and ports, and the names in its certificate.

    ``tls`` can be turned off on loopback only.
    """

    host: str = "127.0.0.1"
    names: list[str] = Field(default=["localhost", "127.0.0.1"], min_length=1)
    http_port: Port = 8700
    superlink_port: Port = 9092
    tls: bool = True


class FoundingInput(Section):
    """The shape of one example, and the number of classes."""

    shape: list[Annotated[int, Field(ge=1)]] = Field(min_length=1, max_length=3)
    classes: int = Field(ge=2, le=65_536)


class FoundingRound(Section):
    """The contributors that a round needs, its duration, the number of rounds (0: no limit)."""

    min_contributors: int = Field(default=0, ge=0)
    min_online: int = Field(default=0, ge=0)
    duration_s: int = Field(default=300, ge=1)
    rounds: int = Field(default=0, ge=0)
    sealed: bool = False


class FoundingParticipant(Section):
    """One participant. With an ``address`` of its own, no account is created for it.

    ``node_key`` names the public key file of its SuperNode, if it has one already.
    """

    name: Name
    address: AddressText | Literal[""] = ""
    node_key: str = ""


class Founding(Section):
    """One federation, before it exists. ``seed`` decides the model's initial weights.

    ``model_agreed_by`` says what participants' own modules have to have in common with the
    founder's: the parts they are made of and their frozen values too, or only the names, shapes and
    dtypes of what is shared. ``config`` is agreed, and told to every participant's
    application.
    """

    format: Literal["fedproof-founding-1"] = "fedproof-founding-1"
    name: Name
    seed: int = Field(default=1, ge=0, lt=2**63)
    input: FoundingInput
    features: Features = Features()
    config: AppConfig = Field(default={})
    model: Model = LogisticModel()
    model_agreed_by: Literal["structure", "manifest"] = "structure"
    training: CheckedTraining = Training()
    aggregator: AnyAggregator = aggregator_section("fedavg")
    scoring: AnyScoring = scoring_section("examples")
    evaluation_data: str = ""
    evaluation: FoundingEvaluation | None = None
    numbers: Numbers = Numbers()
    stake: Stake = Stake()
    rewards: Rewards = Rewards()
    windows: Windows = Windows()
    round: FoundingRound = FoundingRound()
    access: Literal["public", "members"] = "public"
    chain: FoundingChain = FoundingChain()
    host: FoundingHost = FoundingHost()
    participants: list[FoundingParticipant] = Field(default=[])

    @model_validator(mode="wrap")
    @classmethod
    def _resolve(cls, raw: Any, handler: ModelWrapValidatorHandler["Founding"]) -> "Founding":
        founding = handler(raw)
        for fault in _contradictions(founding):
            raise PydanticCustomError("contradiction", "{fault}", {"fault": fault})
        return founding

    @property
    def min_contributors(self) -> int:
        """The fewest updates that a round is sealed with: as set, or the fault bound's minimum."""
        return self.round.min_contributors or self.aggregator.fewest

    @property
    def extensions(self) -> tuple[str, ...]:
        """The rule and the score, each if it is named ``module:NAME``."""
        return outside_kinds(self.aggregator, self.scoring)


def _contradictions(founding: Founding) -> Iterator[str]:
    names = [participant.name for participant in founding.participants]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield f'participants.{index}.name = "{name}" is there twice'
    fewest = founding.aggregator.fewest
    if founding.min_contributors < fewest:
        key, bound = founding.aggregator.needs
        yield (
            f"round.min_contributors = {founding.min_contributors} is below the {fewest} that "
            f"{key} needs ({bound})"
        )
    provable_s = founding.round.duration_s + founding.windows.challenge_window_s
    if founding.windows.unbonding_s < provable_s:
        yield (
            f"windows.unbonding_s = {founding.windows.unbonding_s} must be at least "
            f"round.duration_s + windows.challenge_window_s = {provable_s}, or a bond could leave "
            "before its offence is proven"
        )
    if 5 * founding.windows.answer_s > founding.windows.unbonding_s:
        yield (
            f"windows.answer_s = {founding.windows.answer_s} must be at most a fifth of "
            f"windows.unbonding_s = {founding.windows.unbonding_s}"
        )
    if founding.windows.min_open_s >= founding.round.duration_s:
        yield (
            f"windows.min_open_s = {founding.windows.min_open_s} must be less than "
            f"round.duration_s = {founding.round.duration_s}"
        )
    if founding.model_agreed_by != "structure" and not founding.model.is_own:
        yield (
            f'model_agreed_by = "{founding.model_agreed_by}" is for modules of your own; '
            f"{founding.model.place} is described in the agreement"
        )
    features = founding.features
    if not len(features.names) == len(features.mean) == len(features.scale):
        yield (
            f"features has {len(features.names)} names, {len(features.mean)} means and "
            f"{len(features.scale)} scales; expected as many of each"
        )
    if founding.scoring.rule.needs_evaluation and not founding.evaluation_data:
        yield (
            f'scoring.kind = "{founding.scoring.kind}" needs evaluation_data, a public .npz with '
            "x and y"
        )


def load_founding(path: Path) -> Founding:
    """Read ``federation.toml``; raises ``ConfigError`` naming file and key."""
    return load_settings(Founding, path)
