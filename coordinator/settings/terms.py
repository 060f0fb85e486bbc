"""What a federation agrees on besides its model: rule, scores, money, numbers, windows."""

from typing import Annotated, Literal

from pydantic import Field

from coordinator.protocol.amounts import ETHER
from coordinator.settings.base import PositiveWei, Section, WeiAmount, by_kind

Q16 = 1 << 16

BasisPoints = Annotated[int, Field(ge=0, le=10_000)]
Seconds = Annotated[int, Field(ge=0, le=10 * 365 * 86_400)]


class _Aggregator(Section):
    """Options of every rule; rates are committed as fixed point with 16 fractional bits."""

    server_learning_rate: float = Field(default=1.0, ge=1 / Q16, le=1_000.0)
    server_momentum: float = Field(default=0.0, ge=0.0, le=1.0 - 1 / Q16)
    examples_cap: int = Field(default=1_000_000, ge=1, lt=2**40)

    @property
    def server_lr_q16(self) -> int:
        """The server learning rate as committed: 65536 is 1.0."""
        return round(self.server_learning_rate * Q16)

    @property
    def server_momentum_q16(self) -> int:
        """The server momentum as committed: 65536 would be 1.0."""
        return round(self.server_momentum * Q16)


class FedAvgAggregator(_Aggregator):
    """Weighted mean of the updates."""

    kind: Literal["fedavg"] = "fedavg"
    weighting: Literal["examples", "uniform"] = "examples"


class MedianAggregator(_Aggregator):
    """Coordinate-wise median."""

    kind: Literal["median"] = "median"


class TrimmedMeanAggregator(_Aggregator):
    """Coordinate-wise mean after the ``num_byzantine`` extremes of each side are dropped."""

    kind: Literal["trimmed_mean"] = "trimmed_mean"
    num_byzantine: int = Field(default=1, ge=0)


Aggregator = Annotated[
    Annotated[
        FedAvgAggregator | MedianAggregator | TrimmedMeanAggregator, Field(discriminator="kind")
    ],
    by_kind("fedavg"),
]


class ExamplesScoring(Section):
    """A contributor's score is its capped count of examples: no defence against free riders."""

    kind: Literal["examples"] = "examples"


class LeaveOneOutScoring(Section):
    """A contributor's score is what the round's loss on public examples gains by its update.

    ``evaluation_examples`` are taken out of the training data, class by class, and published.
    """

    kind: Literal["leave_one_out"] = "leave_one_out"
    evaluation_examples: int = Field(default=200, ge=1)


Scoring = Annotated[
    Annotated[ExamplesScoring | LeaveOneOutScoring, Field(discriminator="kind")],
    by_kind("examples"),
]


class Stake(Section):
    """Bonds, and what an offence costs in basis points (10,000 is all of it).

    ``coordinator_minimum_wei`` is the bond without which no round opens; 0 is resolved at load to
    ``coordinator_bond_wei``. ``coordinator_rebonds`` says whether a slashed coordinator tops its
    bond up again to go on; otherwise training ends where its bond falls short. Each question of a
    dispute costs ``dispute_deposit_wei``, which goes to whoever was right.
    """

    minimum_wei: PositiveWei = ETHER
    coordinator_bond_wei: PositiveWei = 10 * ETHER
    coordinator_minimum_wei: WeiAmount = 0
    coordinator_rebonds: bool = True
    dispute_deposit_wei: PositiveWei = ETHER // 100
    contributor_slash_bps: BasisPoints = 10_000
    coordinator_slash_bps: BasisPoints = 10_000


class Rewards(Section):
    """What a round pays at most, and what the pool is funded with.

    ``pool_wei`` 0 is resolved at load to what all rounds can pay together.
    """

    round_budget_wei: WeiAmount = ETHER
    pool_wei: WeiAmount = 0


class Numbers(Section):
    """The fixed-point model (PROTOCOL §2) and the bound an update must keep.

    ``norm_bound`` is in parameter units, L2 over the whole update; 0 is no bound, and then a
    single update of extreme values can wreck the mean.
    """

    scale_bits: int = Field(default=20, ge=1, le=30)
    chunk_values: int = Field(default=256, ge=8, le=4_096, multiple_of=8)
    norm_bound: float = Field(default=100.0, ge=0.0, le=1e9)

    @property
    def norm_bound_q(self) -> int:
        """The norm bound in units of the integer update; 0 for none."""
        return int(self.norm_bound * (1 << self.scale_bits))


class Windows(Section):
    """Windows of the contract, in chain seconds; none of them can be changed once deployed.

    ``answer_s`` is how long a coordinator has to answer a question of a dispute.
    """

    challenge_window_s: Seconds = 3_600
    min_open_s: Seconds = 0
    unbonding_s: Seconds = 86_400
    answer_s: Annotated[Seconds, Field(ge=1)] = 1_800
