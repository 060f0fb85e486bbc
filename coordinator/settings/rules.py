"""``[aggregator]`` and ``[scoring]``: sections built from the registered rules and scores."""

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

    A rule's own options are further fields of its section, from its list of
    :class:`~coordinator.protocol.options.Option`.
    """

    kind: str
    server_learning_rate: float = Field(default=1.0, ge=1 / Q16, le=1_000.0)
    server_momentum: float = Field(default=0.0, ge=0.0, le=1.0 - 1 / Q16)
    examples_cap: int = Field(default=1_000_000, ge=1, lt=2**40)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by kind: every process builds the section's class from the rule."""
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
        """Number of Byzantine contributors that the rule must withstand, *f*."""
        return int(getattr(self, NUM_BYZANTINE, 0))

    @property
    def fewest(self) -> int:
        """Fewest updates with which the rule withstands ``fault_bound``."""
        return RULES.get(self.kind).fewest(self.fault_bound)

    @property
    def needs(self) -> tuple[str, str]:
        """The key that requires ``fewest`` updates, and the rule's bound; for messages."""
        has_bound = NUM_BYZANTINE in type(self).model_fields
        key = f"{NUM_BYZANTINE} = {self.fault_bound}" if has_bound else f'kind = "{self.kind}"'
        return f"aggregator.{key}", RULES.get(self.kind).bound

    @property
    def committed_weighting(self) -> Weighting:
        """How contributors are weighted: by examples, or all the same."""
        by_examples = getattr(self, WEIGHTING, "uniform") == "examples"
        return Weighting.EXAMPLES if by_examples else Weighting.UNIFORM


class Scoring(Section):
    """The section of a score; there are no options of every score, only a score's own."""

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
        """The values of the rule's options that a file may set."""
        return {o.name: getattr(self, o.name) for o in self.rule.options if o.in_files}

    @property
    def evaluation_size(self) -> int:
        """Number of public examples to evaluate on; 0 for rules that need none."""
        return int(getattr(self, _EVALUATION.name)) if self.rule.needs_evaluation else 0


_EVALUATION = Option("evaluation_examples", 200, least=1)
"""Size of the evaluation set, held out from the training data by class, for scores that need it."""


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
    """Return the kinds that name code from outside the package, as ``module:NAME``."""
    return tuple(kind for kind in (aggregator.kind, scoring.kind) if SEPARATOR in kind)


def load_extensions(names: Sequence[str], place: str) -> None:
    """Import rules and scores from outside the package, to register them by these names.

    Reading a document never imports code (ADR 0131), so a federation with a rule or a score from
    outside the package can be run or verified only after this call.

    Parameters
    ----------
    names
        ``module:NAME`` each; their code runs.
    place
        The file or option with the names, for messages.

    Raises
    ------
    ConfigError
        If a name is not of the form ``module:NAME``, its module cannot be imported, or it is
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
