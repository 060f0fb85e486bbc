"""Score an update by how much worse the round's model would be without it.

Free riders earn exactly nothing: a zero update changes nothing; a copied or replayed one is found
by its direction (:mod:`~coordinator.protocol.scores.copies`); noise is no better than the same
noise with other signs, and that is tested.

Everything is in integers and the signs come from a hash, so a verifier gets the same scores.

References
----------
Leave-one-out is the plainest of data values (Ghorbani and Zou, ICML 2019, arXiv:1904.02868). The
null distribution is a sign-flip randomisation test (Fisher, 1935, The Design of Experiments,
section 21), with the standard deviation of a few draws in place of their ranks.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from coordinator.protocol.errors import AggregationError, ConfigError
from coordinator.protocol.options import Option
from coordinator.protocol.scores.base import ScoreInput, ScoringRule
from coordinator.protocol.scores.copies import copied
from coordinator.protocol.scores.counterfactual import Counterfactuals, Flips, counterfactuals
from coordinator.protocol.scores.scoring_round import Evaluate, ScoringRound
from coordinator.protocol.types import Int32Vector

_DOMAIN = b"fedproof/leave-one-out/signs/1"


@dataclass(frozen=True, slots=True)
class LeaveOneOutSettings:
    """What counts as a contribution; part of the announced scoring rule.

    Attributes
    ----------
    null_draws
        Sign scramblings *K* an update is compared with.
    null_sigmas
        Standard deviations of the scrambled gains that a gain must exceed.
    least_gain_permille
        Share of the round's largest gain below which a gain counts as none.
    previous_cosine_permille, same_round_cosine_permille
        Cosines from which an update is a copy, of the round before and of the same round.
    """

    null_draws: int = 32
    null_sigmas: int = 4
    least_gain_permille: int = 10
    previous_cosine_permille: int = 980
    same_round_cosine_permille: int = 995

    def __post_init__(self) -> None:
        """Check each field; raises ``ConfigError`` naming the one that is out of range."""
        for option in _OPTIONS:
            option.checked(getattr(self, option.name), "leave_one_out")


# Fixed in files: the values were chosen by measurement (ADR 0045). Documents may have others.
_OPTIONS = (
    Option("null_draws", 32, least=2, most=1024, in_files=False),
    Option("null_sigmas", 4, least=0, most=100, in_files=False),
    Option("least_gain_permille", 10, least=0, most=1000, in_files=False),
    Option("previous_cosine_permille", 980, least=1, most=1000, in_files=False),
    Option("same_round_cosine_permille", 995, least=1, most=1000, in_files=False),
)


def leave_one_out(
    scored: ScoringRound,
    evaluate: Evaluate,
    settings: LeaveOneOutSettings | None = None,
) -> list[int]:
    """Return each contributor's score: its gain in utility where it is proven, else 0.

    ``gain_i = evaluate(model) - evaluate(model without i)``. It counts if the update is not a
    copy, the gain is not under ``least_gain_permille`` of the largest one, and it exceeds the
    mean of the gains that the same update has with random signs by ``null_sigmas`` of their
    standard deviations. If an update's signs say nothing about the data, its gain is one more
    draw of the same kind, whatever the sizes of its values: of 10,500 such draws 3 passed four
    deviations of 32.

    For the weighted mean the others keep their weights; any other rule is applied again without the
    update.

    Parameters
    ----------
    scored
        The round. No array is modified.
    evaluate
        Called once for the round's model, once for each contributor, and ``null_draws`` times for
        each that is still in question.
    settings
        Defaults when ``None``.

    Returns
    -------
    One integer ``>= 0`` for each contributor, in order, in units of the utility.

    Raises
    ------
    AggregationError
        If the round itself cannot be aggregated. A counterfactual model that overflows shows no
        gain.
    """
    settings = settings or LeaveOneOutSettings()
    if len(scored.seed) != 32:
        raise ConfigError(f"scoring seed has {len(scored.seed)} bytes, expected 32")
    models = counterfactuals(scored)
    complete = evaluate(models.complete())
    everyone = range(len(scored.updates))
    without = [_utility_without(models, i, evaluate, complete) for i in everyone]
    gains = [complete - utility for utility in without]
    largest = max(gains, default=0)
    copies = copied(
        scored,
        previous_permille=settings.previous_cosine_permille,
        same_round_permille=settings.same_round_cosine_permille,
    )
    open_questions = [
        i
        for i in everyone
        if gains[i] > 0
        and not copies[i]
        and gains[i] * 1000 >= settings.least_gain_permille * largest
    ]
    nulls = _null_gains(scored, models, evaluate, complete, without, open_questions, settings)
    scores = [0] * len(gains)
    for i, null in zip(open_questions, nulls, strict=True):
        if _exceeds(gains[i], null, settings.null_sigmas):
            scores[i] = gains[i]
    return scores


def _exceeds(gain: int, null: list[int], sigmas: int) -> bool:
    """Tell whether ``gain - mean(null) > sigmas * deviation(null)``, in integers.

    The deviation is the sample's, with ``K - 1`` in its denominator; both sides are squared after
    multiplication by ``K``.
    """
    draws, total = len(null), sum(null)
    ahead = draws * gain - total
    spread = draws * sum(value * value for value in null) - total * total
    return ahead > 0 and ahead**2 * (draws - 1) > sigmas**2 * draws * spread


def _utility_without(models: Counterfactuals, i: int, evaluate: Evaluate, complete: int) -> int:
    try:
        model = models.without(i)
    except AggregationError:
        return complete
    return evaluate(model)


def _null_gains(
    scored: ScoringRound,
    models: Counterfactuals,
    evaluate: Evaluate,
    complete: int,
    without: list[int],
    indices: list[int],
    settings: LeaveOneOutSettings,
) -> list[list[int]]:
    """Return the gains of the sign scramblings, a list for each of ``indices``."""
    nulls: list[list[int]] = [[] for _ in indices]
    for draw in range(settings.null_draws):
        flips = sign_flips(scored.seed, draw, scored.base_model.shape[0])
        for null, i in zip(nulls, indices, strict=True):
            try:
                model: Int32Vector = models.flipped(i, flips)
            except AggregationError:
                null.append(complete - without[i])
                continue
            null.append(evaluate(model) - without[i])
    return nulls


def sign_flips(seed: bytes, draw: int, dimension: int) -> Flips:
    """Return ``dimension`` fair coins from a hash: the same on every machine.

    Bit ``7 - k % 8`` of byte ``k // 8`` of ``SHAKE128(domain | seed | uint32_be draw)``.

    Examples
    --------
    >>> sign_flips(bytes(32), 0, 8).astype(int)
    array([0, 1, 0, 1, 0, 1, 1, 1])
    """
    digest = hashlib.shake_128(_DOMAIN + seed + draw.to_bytes(4, "big"))
    stream = np.frombuffer(digest.digest((dimension + 7) // 8), np.uint8)
    return np.unpackbits(stream, count=dimension).astype(np.bool_)


def _score(given: ScoreInput) -> list[int]:
    assert given.evaluate is not None, "checked: needs_evaluation"
    numbers = {name: int(value) for name, value in given.options.items()}
    return leave_one_out(given.round, given.evaluate, LeaveOneOutSettings(**numbers))


LEAVE_ONE_OUT = ScoringRule(
    name="leave_one_out",
    score=_score,
    options=_OPTIONS,
    needs_evaluation=True,
    needs_previous_round=True,
)
