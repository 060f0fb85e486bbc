"""Terms of a federation besides model, rule and scores: money, numbers, windows."""

from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from coordinator.protocol.amounts import ETHER
from coordinator.settings.base import PositiveWei, Section, WeiAmount

BasisPoints = Annotated[int, Field(ge=0, le=10_000)]
Seconds = Annotated[int, Field(ge=0, le=10 * 365 * 86_400)]


class Stake(Section):
    """Bonds, and the share of a bond that an offence costs, in basis points (10,000 is all of it).

    ``coordinator_minimum_wei`` is the coordinator's least bond to open a round; 0 is resolved at
    load to ``coordinator_bond_wei``. With ``coordinator_rebonds``, a slashed coordinator tops its
    bond up again; without, training ends once its bond falls short. Each question of a dispute
    needs a deposit of ``dispute_deposit_wei``, which the winner gets.
    """

    minimum_wei: PositiveWei = ETHER
    coordinator_bond_wei: PositiveWei = 10 * ETHER
    coordinator_minimum_wei: WeiAmount = 0
    coordinator_rebonds: bool = True
    dispute_deposit_wei: PositiveWei = ETHER // 100
    contributor_slash_bps: BasisPoints = 10_000
    coordinator_slash_bps: BasisPoints = 10_000


class Rewards(Section):
    """The most that a round pays, and the amount that the pool is funded with.

    ``pool_wei`` 0 is resolved at load to the most that all rounds can pay together.
    """

    round_budget_wei: WeiAmount = ETHER
    pool_wei: WeiAmount = 0


class Numbers(Section):
    """The fixed-point format of the model (docs/protocol.md §2), and the bound on an update's norm.

    ``norm_bound`` is in parameter units, L2 over the whole update; 0 is no bound, and then a
    single update of extreme values can wreck the mean. The default is a safety net against values
    near the ends of int32; it is far above the norm of honest updates of small models. ``scales``
    are scales of tensors of their own, by patterns of names (``"*.running_var"``); of two that fit,
    the later counts.
    """

    scale_bits: int = Field(default=20, ge=1, le=30)
    scales: dict[str, Annotated[int, Field(ge=1, le=30)]] = Field(default={})
    chunk_values: int = Field(default=256, ge=8, le=4_096, multiple_of=8)
    norm_bound: float = Field(default=100.0, ge=0.0, le=1e9)

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out that no tensor has a scale of its own: such settings keep their digest."""
        fields: dict[str, Any] = handler(self)
        if not self.scales:
            del fields["scales"]
        return fields

    @property
    def norm_bound_q(self) -> int:
        """The norm bound in units of the integer update; 0 for none."""
        return int(self.norm_bound * (1 << self.scale_bits))


class Windows(Section):
    """Windows of the contract, in seconds of chain time; fixed once the contract is deployed.

    ``answer_s`` is the time that a coordinator has to answer a question of a dispute.
    """

    challenge_window_s: Seconds = 3_600
    min_open_s: Seconds = 0
    unbonding_s: Seconds = 86_400
    answer_s: Annotated[Seconds, Field(ge=1)] = 1_800
