"""A rule with its options, and the number or digest that commits to both (ADR 0131).

The committed ``Rule.kind`` is the rule's number where number and fields say everything: a rule of
the package without options of its own. Otherwise it is the SHA-256 of the *definition*, canonical
JSON of the rule's name, number and options, which travels with the rule's document. Code is not
part of it: whoever verifies runs a rule that it has loaded itself, by the same name.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from coordinator.protocol.canonical import canonical_json, parse_json
from coordinator.protocol.errors import AggregationError, ConfigError, UnknownRuleError
from coordinator.protocol.options import OptionValue, checked_options
from coordinator.protocol.registry import SEPARATOR, Registry, failure_of
from coordinator.protocol.rules.base import (
    FIRST_DIGEST,
    AggregationInput,
    AggregationRule,
    Provability,
)
from coordinator.protocol.rules.rows import check_vector
from coordinator.protocol.types import DefinedRule, Int32Vector, Rule, Updates

RULES: Registry[AggregationRule] = Registry.of_objects(
    "coordinator.protocol.rules",
    AggregationRule,
    what="aggregation rule",
    name_of=lambda rule: rule.name,
)


@cache
def rules_by_number() -> dict[int, AggregationRule]:
    """Return the package's rules by their committed number.

    Raises
    ------
    ConfigError
        If two have the same number.
    """
    by_number: dict[int, AggregationRule] = {}
    for rule in RULES.shipped.values():
        other = by_number.setdefault(rule.number, rule)
        if other is not rule:
            raise ConfigError(
                f"aggregation rules {other.name} and {rule.name} both have number {rule.number}, "
                "expected each once"
            )
    return dict(sorted(by_number.items()))


def numbered_names() -> str:
    """Return the package's rules for a message: ``1 fedavg, 2 median``."""
    return ", ".join(f"{number} {rule.name}" for number, rule in rules_by_number().items())


@dataclass(frozen=True, slots=True)
class ChosenRule:
    """A rule by the name it is configured with, and a value for each of its committed options."""

    name: str
    rule: AggregationRule
    options: Mapping[str, OptionValue]

    @property
    def is_outside(self) -> bool:
        """Whether its code is from outside the package."""
        return SEPARATOR in self.name

    @property
    def definition(self) -> str:
        """Canonical JSON of name, number and options; empty where the number says it all."""
        if not self.options and not self.is_outside:
            return ""
        document = {"kind": self.name, "number": self.rule.number, "options": dict(self.options)}
        return canonical_json(document).decode()

    @property
    def kind(self) -> int:
        """What ``Rule.kind`` commits to: the number, or the definition's digest."""
        return digest_kind(self.definition) if self.definition else self.rule.number

    @property
    def provability(self) -> Provability:
        """How the referee judges the aggregate; a digest it never knows."""
        return None if self.definition else self.rule.provability

    def aggregate(
        self,
        updates: Updates,
        weights: Sequence[int],
        *,
        num_byzantine: int,
        threads: int | None = None,
    ) -> Int32Vector:
        """Apply the rule.

        Parameters
        ----------
        updates
            ``n`` int32 vectors of shape ``(d,)``, or one array ``(n, d)``. Not modified.
        weights
            ``n`` integers that sum to ``2**24``; rules that take none ignore them.
        num_byzantine
            Fault bound *f*.
        threads
            At most this many; all cores of this process when ``None``.

        Returns
        -------
        Shape ``(d,)`` int32.

        Raises
        ------
        AggregationError
            If there are fewer updates than withstand *f* hostile ones, an update or weight is not
            as described, or the rule returns something else.
        """
        n = len(updates)
        if num_byzantine < 0 or n < self.rule.fewest(num_byzantine):
            raise AggregationError(
                f"rule {self.name} with n = {n} updates cannot withstand f = {num_byzantine} "
                f"Byzantine ones, expected f >= 0 and {self.rule.bound}"
            )
        place, dimension = f"aggregate of rule {self.name}", len(updates[0])
        given = AggregationInput(updates, weights, num_byzantine, self.options, threads)
        if not self.is_outside:
            return check_vector(self.rule.aggregate(given), place, dimension)
        # Lists of its own, and a copy of the result: code from outside may sort what it is given,
        # or return an update itself, or the same array in every round (ADR 0153).
        given = replace(given, updates=[*updates], weights=[*weights], options=dict(self.options))
        try:
            result = self.rule.aggregate(given)
        except AggregationError:
            raise
        except Exception as error:
            raise AggregationError(f"rule {self.name} failed: {failure_of(error)}") from error
        return check_vector(result, place, dimension).copy()


def digest_kind(definition: str) -> int:
    """Return the kind that a definition has: its SHA-256 as an integer."""
    return int.from_bytes(hashlib.sha256(definition.encode()).digest(), "big")


def choose(name: str, options: Mapping[str, Any]) -> ChosenRule:
    """Return a rule that our own configuration names; ``module:name`` is imported.

    Raises
    ------
    ConfigError
        If there is no such rule, or an option is not the rule's or out of its bounds.
    """
    rule = RULES.get(name)
    return ChosenRule(name, rule, checked_options(rule.committed_options, options, f"rule {name}:"))


def chosen(rule: Rule) -> ChosenRule:
    """Return the rule that a committed rule stands for.

    Nothing is imported: a document can only name what is loaded in this process already.

    Raises
    ------
    UnknownRuleError
        If the kind is no number of the package, or the digest of a definition that names no loaded
        rule or is not known; the message names it.
    """
    if rule.kind < FIRST_DIGEST:
        definition = rules_by_number().get(rule.kind)
        if definition is None or definition.committed_options:
            raise UnknownRuleError(f"rule: kind is {rule.kind}, expected one of {numbered_names()}")
        return ChosenRule(definition.name, definition, {})
    if not isinstance(rule, DefinedRule):
        raise UnknownRuleError(
            f"rule: kind is {rule.kind:064x}, the digest of a definition that is not published"
        )
    return _defined(rule)


def _defined(rule: DefinedRule) -> ChosenRule:
    document = parse_json(rule.definition.encode(), "rule definition")
    if not isinstance(document, dict) or set(document) != {"kind", "number", "options"}:
        raise UnknownRuleError(
            "rule definition: expected a JSON object with kind, number and options"
        )
    name, number, options = str(document["kind"]), document["number"], document["options"]
    loaded = RULES.loaded(name)
    if loaded is None or loaded.number != number:
        here = "none of that name" if loaded is None else f"number {loaded.number} of it"
        raise UnknownRuleError(
            f"rule: kind is {name}, number {number}, but this process has loaded {here}"
        )
    try:
        values = checked_options(loaded.committed_options, dict(options), f"rule {name}:")
    except (ConfigError, TypeError, ValueError) as error:
        raise UnknownRuleError(f"rule definition: {error}") from error
    made = ChosenRule(name, loaded, values)
    if made.kind != rule.kind:
        raise UnknownRuleError(
            f"rule: kind is {rule.kind:064x}, its definition's digest is {made.kind:064x}"
        )
    return made


def is_provable(rule: Rule) -> bool:
    """Return whether the referee judges aggregates under a rule (ADR 0132)."""
    return provability(rule) is not None


def provability(rule: Rule) -> Provability:
    """Return how the referee judges aggregates under a rule; ``None`` if it cannot."""
    definition = rules_by_number().get(rule.kind)
    return None if definition is None else definition.provability


def quorum(rule: Rule) -> int:
    """Return the fewest valid updates a round needs: ``min_contributors``, and the rule's bound.

    Of a rule that this process has not loaded only ``min_contributors`` is known.
    """
    try:
        known = chosen(rule).rule
    except UnknownRuleError:
        return rule.min_contributors
    return max(rule.min_contributors, known.fewest(rule.num_byzantine))


def check_fault_bound(rule: Rule, n: int) -> None:
    """Check that ``n`` valid updates are enough for the rule.

    Raises
    ------
    AggregationError
        If ``n`` is below ``min_contributors``, or below what withstands ``num_byzantine``.
    UnknownRuleError
        If this process has not loaded the rule.
    """
    check_least(rule, n)
    known = chosen(rule)
    fewest = known.rule.fewest(rule.num_byzantine)
    if n < fewest:
        raise AggregationError(
            f"{n} valid updates, expected at least {fewest}: {known.name} with num_byzantine = "
            f"{rule.num_byzantine} needs {known.rule.bound}"
        )


def check_least(rule: Rule, n: int) -> None:
    """Raise ``AggregationError`` if ``n`` is below the rule's ``min_contributors``."""
    if n < rule.min_contributors:
        raise AggregationError(
            f"{n} valid updates, expected at least min_contributors = {rule.min_contributors}"
        )


def aggregator_name(rule: Rule) -> str:
    """Return the rule's name in configs: ``fedavg``, or ``module:name`` of one from outside.

    Raises
    ------
    UnknownRuleError
        If the kind is none that this process has loaded.
    """
    return chosen(rule).name
