"""A rule and a score from outside the package, tried on made-up updates before a round is opened.

What they return is checked in every round as well; but there it is too late for a mistake in their
code: the round is void, or sealed and not scored (ADR 0133), or nobody else gets its root (ADR
0153). Not handled: mistakes that only other updates show, what a rule remembers of its first call
for good, and results that differ from machine to machine.
"""

import contextlib
import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from coordinator.protocol.errors import AggregationError, ConfigError, OutsideCodeError
from coordinator.protocol.numbers.weights import apportion
from coordinator.protocol.registry import SEPARATOR, failure_of
from coordinator.protocol.rules.base import AggregationInput
from coordinator.protocol.rules.chosen import ChosenRule, chosen, quorum
from coordinator.protocol.rules.rows import check_vector
from coordinator.protocol.scores.registry import SCORES, score
from coordinator.protocol.scores.scoring_round import ScoringRound
from coordinator.protocol.types import Address, Int32Vector, JsonObject, Rule

_FEW = 3
"""Updates of a trial, where the rule does not ask for more: memory for large models."""
_SMALL = 1000
"""Most values of a made-up update are up to this large, in units of the integer update."""
_LARGE = 1 << 26
"""Its first values are up to this large, if the norm bound allows: more than float32 holds."""
_LARGE_VALUES = 8

_Order = Sequence[int]
_Draws = tuple[object, object]
"""The states of Python's and of numpy's global random numbers."""


def try_outside_code(rule: Rule, scoring: JsonObject) -> None:
    """Apply rule and score to made-up rounds where their code is from outside the package.

    A rule is applied to the same updates in several orders, to updates that are alike, to an even
    and an odd number of them, and to as few as a round may have (ADR 0153).

    Parameters
    ----------
    rule
        As it will be announced; its code is loaded.
    scoring
        The scoring document; its score's code is loaded.

    Raises
    ------
    OutsideCodeError
        If one raises something else than ``AggregationError``, returns what is not what a rule or a
        score returns, or two results for the same round; if a rule's result depends on the order of
        the updates or on the number of threads; or if one changes what it is given. Begins with the
        key of the settings that names it.
    UnknownRuleError
        If one is not loaded.
    """
    known, kind = chosen(rule), str(scoring["kind"])
    if not known.is_outside and SEPARATOR not in kind:
        return
    updates = _updates(max(known.rule.fewest(rule.num_byzantine), _FEW), rule)
    with _global_draws_kept():
        if known.is_outside:
            _try_rule(known, rule, updates)
        if SEPARATOR in kind:
            _try_score(kind, scoring, rule, updates)


def _updates(n: int, rule: Rule) -> list[Int32Vector]:
    """Return ``n`` different vectors within the norm bound, read-only as those of a round are."""
    generator = np.random.Generator(np.random.PCG64(0))
    largest = max(1, min(_LARGE, rule.norm_bound_q // 4)) if rule.norm_bound_q else _LARGE
    updates = []
    for _ in range(n):
        update = generator.integers(-_SMALL, _SMALL, rule.dimension, np.int32)
        first = update[:_LARGE_VALUES]
        first[:] = generator.integers(-largest, largest, first.shape, np.int32)
        updates.append(_read_only(update))
    return updates


def _alike(update: Int32Vector, n: int) -> list[Int32Vector]:
    """Return an update and its negative in turn, and zeros last of an odd number.

    Lengths, distances and whole updates are then equal, so that a rule has to tell them apart by
    something else than their place.
    """
    pair = (update, _read_only(-update))
    zeros = _read_only(np.zeros_like(update))
    return [pair[i % 2] if i < n - n % 2 else zeros for i in range(n)]


def _read_only(vector: Int32Vector) -> Int32Vector:
    vector.flags.writeable = False
    return vector


def _members(n: int) -> list[Address]:
    return [Address(f"0x{i:040d}") for i in range(n)]  # of digits alone: they have no checksum


def _weights(n: int, *, takes_weights: bool) -> list[int]:
    """Return the weights of ``n`` contributors, different ones if the rule takes any."""
    return apportion([1 + i * takes_weights for i in range(n)], _members(n))


def _try_rule(known: ChosenRule, rule: Rule, updates: Sequence[Int32Vector]) -> None:
    trial = _RuleTrial(known, rule)
    fewest, n = quorum(rule), len(updates)
    if fewest < n:
        trial.apply(_Made.of(updates[:fewest], known))
    trial.check(_Made.of(updates, known))
    trial.check(_Made.of(_alike(updates[0], n + 1), known), are_alike=True)


@dataclass(frozen=True)
class _Made:
    """Made-up updates, each with its weight."""

    updates: Sequence[Int32Vector]
    weights: Sequence[int]

    @classmethod
    def of(cls, updates: Sequence[Int32Vector], known: ChosenRule) -> "_Made":
        weights = _weights(len(updates), takes_weights=known.rule.takes_weights)
        return cls(updates, weights)

    def ordered(self, order: _Order) -> "_Made":
        return _Made([self.updates[i] for i in order], [self.weights[i] for i in order])


@dataclass(frozen=True)
class _Outcome:
    """What a rule gave: a vector, or why it refused; and the global random numbers after it."""

    vector: Int32Vector | None
    refusal: str
    draws: _Draws
    drawn: tuple[str, ...]

    def differs(self, other: "_Outcome") -> str:
        """Say in what two outcomes differ, in the order (this, other); empty if in nothing."""
        if self.vector is None or other.vector is None:
            if self.vector is other.vector:
                return ""
            refused = f'AggregationError "{self.refusal or other.refusal}"'
            results = ("a result", refused) if self.vector is not None else (refused, "a result")
            return f"{results[0]}, then {results[1]}"
        where = np.flatnonzero(self.vector != other.vector)
        if not len(where):
            return ""
        first = int(where[0])
        return f"parameter {first} is {self.vector[first]}, then {other.vector[first]}"


class _RuleTrial:
    """Applies one rule and compares what it gives.

    Before each call the global random numbers of Python and numpy are set anew, so that a rule
    that draws from them gives another result each time.
    """

    def __init__(self, known: ChosenRule, rule: Rule) -> None:
        self._known, self._rule = known, rule
        self._place = f"aggregator.kind: rule {known.name}"
        self._calls = 0

    def check(self, made: _Made, *, are_alike: bool = False) -> None:
        """Apply the rule to the same updates in several orders; refuse different results.

        ``are_alike`` says that updates are equal or equally far apart: where those that differ
        passed, the rule breaks ties by the place.
        """
        first = self.apply(made)
        n = len(made.updates)
        orders: dict[str, _Order] = {
            "in reverse": range(n)[::-1],
            "from the second on": [*range(1, n), 0],
        }
        for words, order in orders.items():
            other = self.apply(made.ordered(order))
            if first.differs(other):
                raise self._error(self._reason(made, first, other, words, are_alike=are_alike))
            self._require_no_seed(first, other)
        alone = self.apply(made, threads=1)
        if differs := first.differs(alone):
            raise self._error(f"depends on the number of threads: {differs} with threads = 1")

    def apply(self, made: _Made, threads: int | None = None) -> _Outcome:
        """Apply the rule once.

        Raises
        ------
        OutsideCodeError
            If it raises something else than ``AggregationError``, changes what it is given, or
            returns what is no vector of the model's length.
        """
        known = self._known
        given = AggregationInput(
            [*made.updates],
            [*made.weights],
            self._rule.num_byzantine,
            dict(known.options),
            threads,
        )
        self._calls += 1
        with _unchanged(self._place, made.updates):
            before = _set_global_draws(self._calls)
            try:
                result = known.rule.aggregate(given)
            except AggregationError as error:  # it may refuse what nobody would send
                return _Outcome(None, str(error), *_drawn_since(before))
            except (Exception, SystemExit) as error:  # somebody else's code: anything may come
                raise OutsideCodeError(f"{self._place} failed: {failure_of(error)}") from error
        try:
            check_vector(result, f"aggregate of rule {known.name}", self._rule.dimension)
        except AggregationError as error:
            raise OutsideCodeError(f"aggregator.kind: {error}") from error
        # A copy: the rule may return the same array in its next call.
        return _Outcome(result.copy(), "", *_drawn_since(before))

    def _reason(
        self, made: _Made, first: _Outcome, other: _Outcome, words: str, *, are_alike: bool
    ) -> str:
        """Say why the same updates gave two results: by chance, or by their order."""
        again = self.apply(made)
        if differs := first.differs(again):
            drawn = " and ".join(again.drawn)
            why = f"it draws from {drawn}" if drawn else _CHANCE
            return f"gives two results for the same updates: {differs}; {why}"
        what = "updates that are equal or equally far apart" if are_alike else "the updates"
        how = ": tell such updates apart by their values, not by their place" if are_alike else ""
        return (
            f"depends on the order of {what}: {first.differs(other)} with the same updates "
            f"{words}; expected the same result in any order{how}"
        )

    def _require_no_seed(self, first: _Outcome, other: _Outcome) -> None:
        pairs = zip(_NAMES, first.draws, other.draws, strict=True)
        for name, state, same in pairs:
            if state == same:  # though it was set differently before each call
                raise self._error(f"sets the seed of {name}, which others draw from")

    def _error(self, text: str) -> OutsideCodeError:
        return OutsideCodeError(f"{self._place} {text}")


_CHANCE = "it keeps something from call to call, draws random numbers, or reads a clock"
_NAMES = ("Python's global random numbers", "numpy's global random numbers")


def _set_global_draws(seed: int) -> _Draws:
    random.seed(seed)
    np.random.seed(seed)
    return _global_draws()


def _global_draws() -> _Draws:
    numpy: dict[str, Any] = np.random.get_state(legacy=False)["state"]
    return random.getstate(), (numpy["key"].tobytes(), numpy["pos"])


def _drawn_since(before: _Draws) -> tuple[_Draws, tuple[str, ...]]:
    """Return the state of the global random numbers, and the names of those that were drawn."""
    now = _global_draws()
    pairs = zip(_NAMES, before, now, strict=True)
    return now, tuple(name for name, old, new in pairs if old != new)


@contextlib.contextmanager
def _global_draws_kept() -> Iterator[None]:
    """Put the global random numbers back to where they were."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextlib.contextmanager
def _unchanged(place: str, updates: Sequence[Int32Vector]) -> Iterator[None]:
    """Refuse code that writes into updates although they are read-only."""
    vectors = [*updates]  # the list itself is the code's own
    before = [_digest(vector) for vector in vectors]
    yield
    for vector, digest in zip(vectors, before, strict=True):
        if _digest(vector) != digest:
            raise OutsideCodeError(f"{place} changes the updates, which are not its own")


def _digest(vector: Int32Vector) -> bytes:
    return hashlib.blake2b(vector.data, digest_size=16).digest()


def _try_score(kind: str, scoring: JsonObject, rule: Rule, updates: Sequence[Int32Vector]) -> None:
    n = len(updates)
    known = SCORES.loaded(kind)
    evaluate = (lambda _model: 0) if known is not None and known.needs_evaluation else None
    results = []
    for seed in range(2):
        made_up = ScoringRound(
            contributors=_members(n),
            examples=[1] * n,
            weights=_weights(n, takes_weights=chosen(rule).rule.takes_weights),
            updates=[*updates],
            base_model=np.zeros(rule.dimension, np.int32),
            rule=rule,
            seed=bytes(32),
        )
        with _unchanged(f"scoring.kind: score {kind}", updates):
            _set_global_draws(seed)
            try:
                results.append(score(kind, made_up, evaluate=evaluate, options=_options(scoring)))
            except AggregationError:
                return
            except ConfigError as error:
                raise OutsideCodeError(f"scoring.kind: {error}") from error
    first, second = results
    if first != second:
        raise OutsideCodeError(
            f"scoring.kind: score {kind} gives two results for the same round: {first!r:.60}, then "
            f"{second!r:.60}; expected the same each time"
        )


def _options(scoring: JsonObject) -> Mapping[str, object] | None:
    settings: Mapping[str, object] | None = scoring.get("settings")
    return settings
