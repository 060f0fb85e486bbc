"""A web3 provider over HTTP with limits on a node's answers.

A node may be the coordinator's, and need not be honest: answers are limited in size and nesting,
certificates are checked against a given authority, and every failure is an ``OSError`` with a
readable reason, which :mod:`contracts.binding.rpc` turns into ``ChainUnavailableError``.
"""

import json
from pathlib import Path
from typing import Any, Final, cast

from web3 import Web3
from web3.providers.base import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from contracts.binding.http_client import TIMEOUT_S, HttpClient, UnreachableError
from contracts.json_bounds import check_nesting

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""Enough for ten thousand logs."""
MAX_BRACKETS: Final = 1_000_000
_ONCE: Final = frozenset({"eth_sendRawTransaction"})
_JSON: Final = {"Content-Type": "application/json"}


class HttpProvider(JSONBaseProvider):
    """``Web3(HttpProvider("https://host:8700/rpc", ca_file=Path("ca.crt")))``.

    Parameters
    ----------
    ca_file, timeout_s
        See :class:`contracts.binding.http_client.HttpClient`.

    Raises
    ------
    ConfigError
        If the URL or the file of authorities cannot be used.
    """

    def __init__(
        self, url: str, *, ca_file: Path | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        super().__init__()
        self.endpoint_uri = url
        self._client = HttpClient(url, ca_file=ca_file, timeout_s=timeout_s)

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Send one request and return its answer; sending a transaction is never retried here."""
        body = self.encode_rpc_request(method, params)
        answer = self._exchange(body, repeatable=method not in _ONCE)
        if not isinstance(answer, dict):
            raise UnreachableError(f"answered no JSON-RPC object but {type(answer).__name__}")
        return cast(RPCResponse, answer)

    def make_batch_request(
        self, requests: list[tuple[RPCEndpoint, Any]]
    ) -> list[RPCResponse] | RPCResponse:
        """Send several requests and return their answers, in order of their ids."""
        repeatable = not any(method in _ONCE for method, _ in requests)
        answer = self._exchange(self.encode_batch_rpc_request(requests), repeatable=repeatable)
        if isinstance(answer, list):
            return sorted(cast("list[RPCResponse]", answer), key=lambda item: int(item["id"] or 0))
        return cast(RPCResponse, answer)

    def _exchange(self, body: bytes, *, repeatable: bool) -> Any:
        answer = self._client.post(
            "", body, limit_bytes=MAX_ANSWER_BYTES, headers=_JSON, repeatable=repeatable
        )
        try:
            check_nesting(answer.data, max_brackets=MAX_BRACKETS)
            decoded = json.loads(answer.data)
        except ValueError as error:
            raise UnreachableError(
                f"status {answer.status}, and no JSON: {answer.data[:80]!r} ({error})"
            ) from error
        if answer.status != 200 and not (isinstance(decoded, dict) and "jsonrpc" in decoded):
            reason = decoded.get("error") if isinstance(decoded, dict) else decoded
            raise UnreachableError(f"status {answer.status}: {reason}")
        return decoded

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def web3_at(url: str, *, ca_file: Path | None = None, timeout_s: float = TIMEOUT_S) -> Web3:
    """Return a connection to a node; nothing is sent yet. Raises as :class:`HttpProvider`."""
    return Web3(HttpProvider(url, ca_file=ca_file, timeout_s=timeout_s))
