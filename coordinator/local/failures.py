"""The project's errors as JSON and back, so that a caller in another process sees the same one."""

from typing import Final

from coordinator.protocol import errors
from coordinator.protocol.errors import (
    ContributorError,
    FedproofError,
    TransactionRevertedError,
)
from coordinator.protocol.types import JsonObject

_KINDS: Final = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, FedproofError)
}
_MAX_TEXT: Final = 4_000


def error_header(error: FedproofError) -> JsonObject:
    """Return what :func:`error_from` makes the same error of.

    A kind that ``coordinator.protocol.errors`` does not know goes as the nearest one that it does:
    the two statements of an ``EquivocationError`` stay on this side, and the caller learns of it as
    a :class:`ContributorError` with its code.
    """
    known = next(k for k in type(error).__mro__ if k.__name__ in _KINDS and k in _KINDS.values())
    told: JsonObject = {"kind": known.__name__, "message": str(error)[:_MAX_TEXT]}
    if isinstance(error, ContributorError):
        told["code"] = error.code
        told["contributor"] = error.contributor
        told["round"] = error.round_id
        told["found"] = error.found[:_MAX_TEXT]
        told["expected"] = error.expected[:_MAX_TEXT]
    if isinstance(error, TransactionRevertedError):
        told["reason"] = error.reason[:_MAX_TEXT]
    return {"error": told}


def error_from(header: JsonObject) -> FedproofError:
    """Return the error in an answer; one that cannot be read is a plain ``FedproofError``."""
    told = header.get("error")
    if not isinstance(told, dict):
        return FedproofError("the answer is neither a result nor an error")
    kind = _KINDS.get(str(told.get("kind")), FedproofError)
    message = str(told.get("message"))
    if issubclass(kind, ContributorError):
        contributor, round_id = told.get("contributor"), told.get("round")
        return kind(
            message,
            code=str(told.get("code")),
            contributor=None if contributor is None else str(contributor),
            round_id=round_id if isinstance(round_id, int) else None,
            found=str(told.get("found", "")),
            expected=str(told.get("expected", "")),
        )
    if issubclass(kind, TransactionRevertedError):
        return kind(message, reason=str(told.get("reason", "")))
    return kind(message)
