"""JSON-RPC error codes, as JSON-RPC 2.0, EIP-1474 and geth have them."""

from typing import Any, Final

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
SERVER_ERROR: Final = -32000
LIMIT_EXCEEDED: Final = -32005
EXECUTION_REVERTED: Final = 3


class RpcError(Exception):
    """An error a client is answered with.

    Attributes
    ----------
    code, message, data
        Members of the JSON-RPC error object; ``data`` is left out when ``None``.
    """

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def to_json(self) -> dict[str, Any]:
        """Return the error object."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.data is not None:
            error["data"] = self.data
        return error


def invalid_params(name: str, found: object, expected: str) -> RpcError:
    """Return the error for one bad parameter; long values are shortened."""
    shown = repr(found)
    if len(shown) > 80:
        shown = f"{shown[:77]}..."
    return RpcError(INVALID_PARAMS, f"invalid params: {name}: found {shown}, expected {expected}")
