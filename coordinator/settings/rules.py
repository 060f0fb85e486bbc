"""``[aggregator]`` and ``[scoring]``: sections that follow from the registered rules."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.options import Option
from coordinator.protocol.registry import SEPARATOR
from coordinator.protocol.rules.base import NUM_BYZANTINE, WEIGHTING, AggregationRule, Weighting
from coordinator.protocol.rules.chosen import RULES, ChosenRule, choose
from coordinator.protocol.scores.base import ScoringRule
from coordinator.protocol.scores.registry import SCORES
from coordinator.settings.base import Section
from coordinator.settings.kinds import ByKind
from coordinator.settings.options import SectionsOf, section_model

Q16 = 1 << 16


class Aggregator(Section):
    """Options of every rule; rates are committed as fixed point with 16 fractional bits.

    Options of one rule are fields of its own section, by the rule's
    :class:`~coordinator.protocol.options.Option` list.
    """

    kind: str
    server_learning_rate: float = Field(default=1.0, ge=1 / Q16, le=1_000.0)
    server_momentum: float = Field(default=0.0, ge=0.0, le=1.0 - 1 / Q16)
    examples_cap: int = Field(default=1_000_000, ge=1, lt=2**40)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by kind: the section's class is made from the rule, in each process anew."""
        return _aggregator_from, (self.model_dump(),)

    @property
    def server_lr_q16(self) -> int:
        """The server learning rate as committed: 65536 is 1.0."""
        return round(self.server_learning_rate * Q16)

    @property
    def server_momentum_q16(self) -> int:
        """The server momentum as committed: 65536 would be 1.0."""
        return round(self.server_momentum * Q16)

    @property
    def chosen(self) -> ChosenRule:
        """The rule with its committed options.

        Raises
        ------
        ConfigError
            If the rule is unknown, or an option out of its bounds.
        """
        own = RULES.get(self.kind).committed_options
        return choose(self.kind, {o.name: getattr(self, o.name) for o in own if o.in_files})

    @property
    def fault_bound(self) -> int:
        """How many Byzantine contributors the rule is to withstand, *f*."""
        return int(getattr(self, NUM_BYZANTINE, 0))

    @property
    def fewest(self) -> int:
        """The fewest updates that withstand so many."""
        return RULES.get(self.kind).fewest(self.fault_bound)

    @property
    def needs(self) -> tuple[str, str]:
        """What asks for so many updates, and the bound it asks by; for messages."""
        given = NUM_BYZANTINE in type(self).model_fields
        key = f"{NUM_BYZANTINE} = {self.fault_bound}" if given else f'kind = "{self.kind}"'
        return f"aggregator.{key}", RULES.get(self.kind).bound

    @property
    def committed_weighting(self) -> Weighting:
        """What a contributor's share of the weights is."""
        by_examples = getattr(self, WEIGHTING, "uniform") == "examples"
        return Weighting.EXAMPLES if by_examples else Weighting.UNIFORM


class Scoring(Section):
    """Options of every score: none. Those of one score are fields of its own section."""

    kind: str

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by kind, as :class:`Aggregator`."""
        return _scoring_from, (self.model_dump(),)

    @property
    def rule(self) -> ScoringRule:
        """The scoring rule; raises ``ConfigError`` if it is unknown."""
        return SCORES.get(self.kind)

    @property
    def options(self) -> dict[str, Any]:
        """What the file may set of the rule's options, as it is set."""
        return {o.name: getattr(self, o.name) for o in self.rule.options if o.in_files}

    @property
    def evaluation_size(self) -> int:
        """How many public examples are evaluated on; 0 for rules that need none."""
        return int(getattr(self, _EVALUATION.name)) if self.rule.needs_evaluation else 0


_EVALUATION = Option("evaluation_examples", 200, least=1)
"""Of scores that need an evaluation set: its size, taken out of the training data by class."""


def _aggregator(name: str, rule: AggregationRule) -> type[Aggregator]:
    return section_model(Aggregator, name, rule.options)


def _scoring(name: str, rule: ScoringRule) -> type[Scoring]:
    evaluation = (_EVALUATION,) if rule.needs_evaluation else ()
    return section_model(Scoring, name, (*evaluation, *rule.options))


AGGREGATORS: SectionsOf[AggregationRule, Aggregator] = SectionsOf(RULES, _aggregator)
SCORINGS: SectionsOf[ScoringRule, Scoring] = SectionsOf(SCORES, _scoring)

AnyAggregator = Annotated[Aggregator, ByKind(AGGREGATORS, default="fedavg")]
AnyScoring = Annotated[Scoring, ByKind(SCORINGS, default="examples")]


def aggregator_section(kind: str, **options: Any) -> Aggregator:
    """Return an ``[aggregator]`` section; raises ``ConfigError`` if the rule is unknown."""
    return AGGREGATORS.get(kind)(kind=kind, **options)


def scoring_section(kind: str, **options: Any) -> Scoring:
    """Return a ``[scoring]`` section; raises ``ConfigError`` if the score is unknown."""
    return SCORINGS.get(kind)(kind=kind, **options)


def _aggregator_from(values: dict[str, Any]) -> Aggregator:
    return aggregator_section(**values)


def _scoring_from(values: dict[str, Any]) -> Scoring:
    return scoring_section(**values)


def outside_kinds(aggregator: Aggregator, scoring: Scoring) -> tuple[str, ...]:
    """Return the kinds of these two that name code from outside the package, ``module:NAME``."""
    return tuple(kind for kind in (aggregator.kind, scoring.kind) if SEPARATOR in kind)


def load_extensions(names: Sequence[str], place: str) -> None:
    """Import rules and scores of one's own, so that committed ones of these names are known.

    A document imports nothing (ADR 0131): whoever runs or verifies a federation with a rule or a
    score from outside the package says so here.

    Parameters
    ----------
    names
        ``module:NAME`` each; their code runs.
    place
        What gave the names, for messages.

    Raises
    ------
    ConfigError
        If a name is none of ``module:NAME``, its module cannot be imported, or what it names is
        neither an ``AggregationRule`` nor a ``ScoringRule``.
    """
    for name in names:
        if SEPARATOR not in name:
            raise ConfigError(f'{place}: "{name}": expected module{SEPARATOR}NAME')
        try:
            RULES.get(name)
        except ConfigError as no_rule:
            try:
                SCORES.get(name)
            except ConfigError:
                raise ConfigError(f"{place}: no rule and no score: {no_rule}") from no_rule
