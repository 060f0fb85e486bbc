"""Evaluations by participants as the coordinator reports them, for ``status`` and ``rounds``.

Nothing on chain commits to them, so they are shown as claims.
"""

from collections.abc import Mapping
from typing import Any, Final

from clients.commands.session import Session, service_of
from contracts.binding.http_client import HttpClient, UnreachableError
from coordinator.protocol.canonical import parse_json
from coordinator.protocol.errors import FedproofError, VerificationError
from coordinator.protocol.round.evaluation import ACCURACY, LOSS, EvaluationSummary
from coordinator.protocol.types import RoundId

CLAIMED: Final = (
    "accuracy and loss are what participants claim of their own test data; nobody can verify them"
)
PUBLIC: Final = (
    "public is the share of the agreed public set that the coordinator found right; anybody can "
    "compute it again"
)
_MOST_ROUNDS: Final = 1_000
_BYTES_PER_ROUND: Final = 64 << 10


def evaluations(session: Session, last: int) -> dict[RoundId, EvaluationSummary] | None:
    """Ask the coordinator for the newest evaluations, by round.

    Returns
    -------
    ``None`` if the federation has none, or the coordinator is not known or does not answer.
    """
    agreement = session.options.agreement
    if agreement is not None and agreement.evaluation is None:
        return None
    url = service_of(session.store())
    if url is None:
        return None
    wanted = min(last, _MOST_ROUNDS)
    client = HttpClient(url, ca_file=session.options.ca, timeout_s=10.0, attempts=1)
    try:
        path = f"/evaluations?last={wanted}"
        answer = client.get(path, limit_bytes=wanted * _BYTES_PER_ROUND)
        if answer.status != 200:
            return None
        return _read(parse_json(answer.data, url + path), url + path)
    except (UnreachableError, OSError, FedproofError):
        return None
    finally:
        client.close()


def _read(document: Any, place: str) -> dict[RoundId, EvaluationSummary]:
    listed = document.get("evaluations") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise VerificationError(f"{place}: no evaluations in it")
    summaries = [EvaluationSummary.from_json(one, place) for one in listed]
    return {summary.round_id: summary for summary in summaries}


def cells(summary: EvaluationSummary | None) -> list[str]:
    """Return accuracy and loss for a table, empty where they are not known."""
    if summary is None:
        return ["", ""]
    return [_share(summary.mean(ACCURACY)), _plain(summary.mean(LOSS))]


def evaluation_line(service: Mapping[str, Any] | None) -> str | None:
    """Return the last evaluation in the service's ``/status`` as text, ``None`` without one."""
    if service is None or "evaluation" not in service:
        return None
    if service["evaluation"] is None:
        return "no model was evaluated yet"
    try:
        summary = EvaluationSummary.from_json(service["evaluation"], "/status")
    except VerificationError:
        return "the service's answer cannot be read"
    named = {ACCURACY: _share(summary.mean(ACCURACY)), LOSS: _plain(summary.mean(LOSS))}
    said = [f"{name} {text}" for name, text in named.items() if text]
    others = len(summary.metrics) - len(said)
    said += [f"{others} other metrics"] if others else []
    of = f"by {summary.answered} of {summary.asked} participants"
    found = f"; {public_share(summary)} of the public set right" if summary.public else ""
    return f"round {summary.round_id}: {', '.join(said) or 'nothing'}, claimed {of}{found}"


def public_share(summary: EvaluationSummary | None) -> str:
    """Return the share of the public set that is right, empty where it is not known."""
    return "" if summary is None or summary.public is None else _share(summary.public.accuracy)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
