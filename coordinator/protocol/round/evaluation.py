"""How well participants say that a model does on their own test data, summarised.

Every number is a claim: nobody else has the data, and nothing of it is signed, committed or paid
for. So the checks bound what one claim can do to the others: a value that is not finite, too large
or impossible refuses that one answer, a name that few report is left out, and beside each mean is
the median, which a minority cannot move beyond what others say.

Not handled: asking (``coordinator.flower.evaluation``) and keeping (``coordinator.stores``).
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from coordinator.protocol import wire
from coordinator.protocol.errors import VerificationError
from coordinator.protocol.types import Address, JsonObject, RoundId, address_bytes

FORMAT: Final = "fedproof-evaluation-1"
ACCURACY: Final = "accuracy"
LOSS: Final = "loss"
LARGEST: Final = 1e9
"""Largest size of a value; a mean of larger ones would say nothing of the others."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@ -]{0,63}")
_CODE: Final = re.compile(r"[a-z][a-z-]{0,40}")


@dataclass(frozen=True, slots=True)
class Claim:
    """What one participant says of a model on its ``examples`` test examples."""

    examples: int
    values: Mapping[str, float]


def read_claim(metrics: JsonObject) -> Claim:
    """Return one participant's checked answer; lists of numbers are left out.

    Parameters
    ----------
    metrics
        The reply's metrics by name; untrusted.

    Raises
    ------
    MalformedUpdateError
        ``missing-examples``, ``bad-examples``; or ``bad-metrics`` for too many, for a name that
        is no name, a value that is no finite number or larger than :data:`LARGEST`, or an accuracy
        that is not from 0 to 1.
    """
    plain = wire.plain_metrics(metrics)
    examples = wire.check_examples(plain)
    values = {}
    for name, value in plain.items():
        if not _NAME.fullmatch(name):
            raise wire.malformed(
                "bad-metrics", "metrics", f"the name {name[:40]!r}", "1 to 64 letters and digits"
            )
        if name != wire.EXAMPLES_METRIC and isinstance(value, int | float):
            values[name] = _in_bounds(name, value)
    return Claim(examples, values)


def _in_bounds(name: str, value: float) -> float:
    low, high = (0.0, 1.0) if name == ACCURACY else (-LARGEST, LARGEST)
    if not low <= value <= high:
        raise wire.malformed(
            "bad-metrics", f"metric {name!r}", repr(value)[:40], f"{low:g} to {high:g}"
        )
    return float(value)


@dataclass(frozen=True, slots=True)
class Spread:
    """One metric over participants: ``mean`` is weighted by examples, ``median`` is not."""

    mean: float
    median: float
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class PublicResult:
    """What the coordinator found on the agreed public set: ``correct`` of ``examples``.

    Whoever has model and set can compute it again. ``loss`` is ``None`` of a model without defined
    outputs.
    """

    examples: int
    correct: int
    loss: float | None

    @property
    def accuracy(self) -> float:
        """The share that is right, from 0 to 1."""
        return self.correct / self.examples

    def as_json(self) -> JsonObject:
        """Return the result as JSON."""
        return {"examples": self.examples, "correct": self.correct, "loss": self.loss}

    @classmethod
    def from_json(cls, document: Any) -> "PublicResult | None":
        """Return the result in a document, ``None`` of ``None``.

        Raises
        ------
        ValueError, TypeError, KeyError
            If it is none.
        """
        if document is None:
            return None
        examples, correct = _count(document["examples"]), _count(document["correct"])
        if examples < 1 or correct > examples:
            raise ValueError(f"{correct} of {examples} right")
        loss = document["loss"]
        return cls(examples, correct, None if loss is None else _number(loss))


@dataclass(frozen=True, slots=True)
class EvaluationSummary:
    """One round's evaluation, without who said what.

    Attributes
    ----------
    round_id, model_root
        The sealed round, and the model that came out of it, 32 bytes.
    asked, answered
        How many participants were asked, and how many gave an answer that counts.
    examples
        How many test examples they claim together.
    refused
        How many answers do not count or did not come, by code.
    metrics
        Those that more than half of the answers have, by name.
    public
        What the coordinator found on the public set, if one is agreed on.
    """

    round_id: RoundId
    model_root: bytes
    asked: int
    answered: int
    examples: int
    refused: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, Spread] = field(default_factory=dict)
    public: PublicResult | None = None

    def mean(self, name: str) -> float | None:
        """Return the weighted mean of a metric, ``None`` where it was not measured."""
        spread = self.metrics.get(name)
        return None if spread is None else spread.mean

    def as_json(self) -> JsonObject:
        """Return the summary as JSON."""
        return {
            "round": int(self.round_id),
            "model_root": self.model_root.hex(),
            "asked": self.asked,
            "answered": self.answered,
            "examples": self.examples,
            "refused": dict(sorted(self.refused.items())),
            "metrics": {
                name: {
                    "mean": spread.mean,
                    "median": spread.median,
                    "lowest": spread.lowest,
                    "highest": spread.highest,
                }
                for name, spread in sorted(self.metrics.items())
            },
            **({} if self.public is None else {"public": self.public.as_json()}),
        }

    @classmethod
    def from_json(cls, document: Any, place: str) -> "EvaluationSummary":
        """Return the summary in a document, which may have other fields too.

        Raises
        ------
        VerificationError
            If a field is missing or of another kind; ``place`` is named.
        """
        try:
            return cls(
                RoundId(_count(document["round"])),
                bytes.fromhex(document["model_root"]),
                _count(document["asked"]),
                _count(document["answered"]),
                _count(document["examples"]),
                {_text(_CODE, code): _count(n) for code, n in document["refused"].items()},
                {
                    _text(_NAME, name): Spread(
                        *(_number(value[part]) for part in ("mean", "median", "lowest", "highest"))
                    )
                    for name, value in document["metrics"].items()
                },
                PublicResult.from_json(document.get("public")),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise VerificationError(f"{place}: not an evaluation: {error!r}"[:300]) from error


def summarise(
    round_id: RoundId,
    model_root: bytes,
    claims: Mapping[Address, Claim],
    refused: Sequence[str],
    examples_cap: int,
    public: PublicResult | None = None,
) -> EvaluationSummary:
    """Summarise the answers for one round; the same whatever order they came in.

    Parameters
    ----------
    claims
        The answers that count, by participant.
    refused
        The code of each that does not, or did not come.
    examples_cap
        One participant weighs at most this many examples in a mean.
    public
        What the coordinator found itself.
    """
    in_order = [claims[address] for address in sorted(claims, key=address_bytes)]
    names = {name for claim in in_order for name in claim.values}
    common = {n for n in names if 2 * sum(n in c.values for c in in_order) > len(in_order)}
    return EvaluationSummary(
        round_id,
        model_root,
        asked=len(claims) + len(refused),
        answered=len(claims),
        examples=sum(claim.examples for claim in in_order),
        refused={code: refused.count(code) for code in sorted(set(refused))},
        metrics={name: _spread(name, in_order, examples_cap) for name in sorted(common)},
        public=public,
    )


def _spread(name: str, claims: Sequence[Claim], examples_cap: int) -> Spread:
    weighed = [
        (claim.values[name], min(claim.examples, examples_cap))
        for claim in claims
        if name in claim.values
    ]
    values = [value for value, _ in weighed]
    total = math.fsum(value * weight for value, weight in weighed)
    return Spread(
        total / sum(weight for _, weight in weighed), median(values), min(values), max(values)
    )


def evaluation_document(
    summary: EvaluationSummary,
    claims: Mapping[Address, Claim],
    refused: Mapping[Address, tuple[str, str]],
) -> JsonObject:
    """Return all of one round's evaluation as JSON, for the coordinator's own folder.

    ``refused`` maps participants to code and message.
    """
    return {
        "format": FORMAT,
        **summary.as_json(),
        "claims": {
            str(address): {"examples": claim.examples, "metrics": dict(claim.values)}
            for address, claim in claims.items()
        },
        "refusals": {
            str(address): {"code": code, "message": message}
            for address, (code, message) in refused.items()
        },
    }


def is_code(code: str) -> bool:
    """Return whether a text has the form of a refusal's code."""
    return _CODE.fullmatch(code) is not None


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"found {value!r}, expected a number from 0")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"found {value!r}, expected a finite number")
    return float(value)


def _text(pattern: re.Pattern[str], value: Any) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"found {value!r}, expected a name")
    return value
