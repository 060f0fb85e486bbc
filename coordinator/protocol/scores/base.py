"""What a scoring rule is: one object, from which schema and documents follow.

A score of the package is one file that defines one :class:`ScoringRule`; the registry finds it. A
score from outside is the same object in any importable module.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.options import (
    Option,
    OptionValue,
    check_declared,
    checked_options,
)
from coordinator.protocol.scores.scoring_round import Evaluate, ScoringRound
from coordinator.protocol.types import JsonObject


@dataclass(frozen=True, slots=True)
class ScoreInput:
    """What a score is computed from.

    Attributes
    ----------
    round
        The sealed round.
    evaluate
        Utility of a model on the committed evaluation set; ``None`` for rules that need none.
    options
        A value for each of the rule's options, checked.
    """

    round: ScoringRound
    evaluate: Evaluate | None
    options: Mapping[str, OptionValue]


@dataclass(frozen=True, slots=True)
class ScoringRule:
    """One scoring rule.

    Attributes
    ----------
    name
        As in a configuration file and in the scoring document.
    score
        A pure function: one integer ``>= 0`` for each contributor, in order; the same on every
        machine.
    options
        What the scoring document holds under ``settings``.
    needs_evaluation
        Whether a public evaluation set is agreed on; the document then names it, and the
        architecture that evaluates a model.
    needs_previous_round
        Whether the round before is read.
    """

    name: str
    score: Callable[[ScoreInput], list[int]]
    options: tuple[Option, ...] = ()
    needs_evaluation: bool = False
    needs_previous_round: bool = False

    def __post_init__(self) -> None:
        """Check what would otherwise fail much later.

        Raises
        ------
        ConfigError
            Naming the score and the field.
        """
        if not (isinstance(self.name, str) and self.name.isidentifier()):
            raise ConfigError(f"score: name is {self.name!r}, expected an identifier")
        if not callable(self.score):
            raise ConfigError(f"score {self.name}: score is {self.score!r}, expected a function")
        check_declared(self.options, f"score {self.name}:")

    def settings(self, given: Mapping[str, Any]) -> dict[str, OptionValue]:
        """Return a value for each option; raises ``ConfigError`` for one that is wrong."""
        return checked_options(self.options, given, f"{self.name}")

    def document(self, kind: str, options: Mapping[str, Any]) -> JsonObject:
        """Return the scoring document, without what an evaluation set adds to it.

        Parameters
        ----------
        kind
            The name it was configured by: ``name``, or ``module:name``.
        options
            Those that are not at their default.
        """
        settings = self.settings(options)
        return {"kind": kind, "settings": settings} if settings else {"kind": kind}
