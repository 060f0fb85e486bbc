"""What an aggregation rule is: one object, from which schema, bounds, documents and proofs follow.

A rule of the package is one file that defines one :class:`AggregationRule`; the registry finds it
(:mod:`~coordinator.protocol.rules.chosen`). A rule from outside is the same object in any
importable module.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.options import Option, OptionValue, check_declared
from coordinator.protocol.types import Int32Vector, Rule, Updates

REFEREE_NUMBERS = (1, 2, 3)
"""Numbers whose arithmetic the referee's contracts know: ``facts._has_known_rule``."""

FIRST_DIGEST = 1 << 16
"""Kinds below are numbers of the package's rules, kinds from here on are digests (ADR 0131)."""

WEIGHTING, NUM_BYZANTINE = "weighting", "num_byzantine"
"""Options that have a field of their own in the committed rule."""


class Weighting(IntEnum):
    """``Rule.weighting``: what a contributor's share of the weights is."""

    EXAMPLES = 1
    UNIFORM = 2


@dataclass(frozen=True, slots=True)
class AggregationInput:
    """What a rule aggregates.

    Attributes
    ----------
    updates
        ``n`` int32 vectors of shape ``(d,)``, or one array ``(n, d)``; not to be modified.
    weights
        ``n`` integers that sum to ``2**24``; for rules without the option ``weighting`` they are as
        equal as integers can be.
    num_byzantine
        Fault bound *f*; ``n >= fewest(f)`` has been checked.
    options
        The rule's own options, checked; without those that have a field in the committed rule.
    threads
        At most this many; all cores of this process when ``None``. Must not affect the result.
    """

    updates: Updates
    weights: Sequence[int]
    num_byzantine: int
    options: Mapping[str, OptionValue]
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class WeightedColumns:
    """Proven on chain as the running sum of weight times value: the result is a weighted mean."""


@dataclass(frozen=True, slots=True)
class RankedColumns:
    """Proven on chain by counting around the values kept: ``trim(n, f)`` are cut at each end."""

    trim: Callable[[int, int], int]


Provability = WeightedColumns | RankedColumns | None
"""What the referee judges a rule's aggregate by; ``None``: it cannot (ADR 0132)."""


@dataclass(frozen=True, slots=True)
class AggregationRule:
    """One aggregation rule.

    Attributes
    ----------
    number
        Of a rule of the package: its committed number, 1 to 65535, never used again. Of one from
        outside: its author's number of this definition, raised when results change.
    name
        As in a configuration file.
    aggregate
        The arithmetic: integers in, integers out, the same bits for the same set of updates on any
        machine, in any order and with any number of threads. Returns shape ``(d,)``, int32; raises
        ``AggregationError`` where it cannot.
    fewest
        The fewest updates that withstand *f* hostile ones; grows with *f*.
    bound
        The same as a person reads it: ``"2f < n"``.
    options
        What a configuration may set. ``weighting`` says that weights count, ``num_byzantine`` that
        *f* can be chosen; both are fields of the committed rule. Others are committed as part of
        its kind (ADR 0131).
    withstands_byzantine
        Whether ``num_byzantine`` may be above 0.
    provability
        How the referee judges the aggregate.
    """

    number: int
    name: str
    aggregate: Callable[[AggregationInput], Int32Vector]
    fewest: Callable[[int], int]
    bound: str
    options: tuple[Option, ...] = ()
    withstands_byzantine: bool = True
    provability: Provability = None

    def __post_init__(self) -> None:
        """Check what would otherwise fail much later.

        Raises
        ------
        ConfigError
            Naming the rule and the field.
        """
        if not (isinstance(self.name, str) and self.name.isidentifier()):
            raise ConfigError(f"aggregation rule: name is {self.name!r}, expected an identifier")
        place = f"aggregation rule {self.name}:"
        if type(self.number) is not int or not 1 <= self.number < FIRST_DIGEST:
            raise ConfigError(
                f"{place} number is {self.number!r}, expected 1 to {FIRST_DIGEST - 1}"
            )
        if not callable(self.aggregate):
            raise ConfigError(f"{place} aggregate is {self.aggregate!r}, expected a function")
        check_declared(self.options, place)
        self._check_fewest(place)
        if self.provability is not None and self.number not in REFEREE_NUMBERS:
            raise ConfigError(
                f"{place} provability is given with number {self.number}, which the referee does "
                "not know; expected None"
            )

    def _check_fewest(self, place: str) -> None:
        """Ask for the bound without a hostile contributor, and with one where that may be."""
        for num_byzantine in range(1 + self.withstands_byzantine):
            try:
                fewest = self.fewest(num_byzantine)
            except Exception as error:  # the rule's author may have written anything
                reason = f"{type(error).__name__}: {error}"
                raise ConfigError(f"{place} fewest({num_byzantine}) failed: {reason}") from error
            if type(fewest) is not int or fewest < 1:
                raise ConfigError(
                    f"{place} fewest({num_byzantine}) is {fewest!r}, expected an integer from 1"
                )

    @property
    def takes_weights(self) -> bool:
        """Whether weights matter; otherwise every contributor counts once."""
        return any(option.name == WEIGHTING for option in self.options)

    @property
    def committed_options(self) -> tuple[Option, ...]:
        """The options without a field of their own in the committed rule."""
        named = (WEIGHTING, NUM_BYZANTINE)
        return tuple(option for option in self.options if option.name not in named)


def honest_majority(num_byzantine: int) -> int:
    """Return the fewest updates of which fewer than half are hostile: ``2f + 1``."""
    return 2 * num_byzantine + 1


def capped_examples(rule: Rule, examples: int) -> int:
    """Return ``min(examples, examples_cap)``: what a self-reported count is worth at most."""
    return min(examples, rule.examples_cap)
