"""The project's errors as JSON and back, so that a caller in another process gets the same one."""

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
    """Return the JSON from which :func:`error_from` makes the same error.

    An error class outside ``coordinator.protocol.errors`` is sent as its nearest base class in it:
    the caller gets an ``EquivocationError`` as a :class:`ContributorError` with its code, without
    the two statements.
    """
    known = next(k for k in type(error).__mro__ if k.__name__ in _KINDS and k in _KINDS.values())
    document: JsonObject = {"kind": known.__name__, "message": str(error)[:_MAX_TEXT]}
    if isinstance(error, ContributorError):
        document["code"] = error.code
        document["contributor"] = error.contributor
        document["round"] = error.round_id
        document["found"] = error.found[:_MAX_TEXT]
        document["expected"] = error.expected[:_MAX_TEXT]
    if isinstance(error, TransactionRevertedError):
        document["reason"] = error.reason[:_MAX_TEXT]
    return {"error": document}


def error_from(header: JsonObject) -> FedproofError:
    """Return the error in an answer, a plain ``FedproofError`` if it is malformed."""
    document = header.get("error")
    if not isinstance(document, dict):
        return FedproofError("the answer is neither a result nor an error")
    kind = _KINDS.get(str(document.get("kind")), FedproofError)
    message = str(document.get("message"))
    if issubclass(kind, ContributorError):
        contributor, round_id = document.get("contributor"), document.get("round")
        return kind(
            message,
            code=str(document.get("code")),
            contributor=None if contributor is None else str(contributor),
            round_id=round_id if isinstance(round_id, int) else None,
            found=str(document.get("found", "")),
            expected=str(document.get("expected", "")),
        )
    if issubclass(kind, TransactionRevertedError):
        return kind(message, reason=str(document.get("reason", "")))
    return kind(message)
