"""JSON-RPC to any node, and the translation of its failures into the project's errors.

Uses a web3 provider (in process, HTTP, IPC) without web3's middleware: no formatters, and errors as
the node sent them.

After a temporary refusal (the node is busy, limits requests, lags behind, still builds an index)
the request is retried for a while; then the node counts as unavailable, which says nothing about
chain, contract or transaction. So does a malformed answer (ADR 0151). Not handled: a node that
sends well-formed false answers.
"""

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from web3 import Web3
from web3.exceptions import Web3Exception
from web3.providers import BaseProvider
from web3.types import RPCEndpoint

from contracts.binding.http_client import AnswerTooLongError, UnreachableError
from contracts.binding.records import BlockInfo
from contracts.blocks import BlockProducer, revert_reason
from coordinator.protocol.errors import ChainUnavailableError, LedgerError, TransactionRevertedError
from coordinator.protocol.types import Wei


def reason_text(data: bytes) -> str:
    """Return the reason in a revert's data: the string, ``panic 0x..``, or the data in hex."""
    return revert_reason(data) or data.hex()


PATIENCE_S: Final = 10.0
"""How long a request is retried after temporary refusals."""
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 2.0
_SHOWN: Final = 80
_TEMPORARY_CODES: Final = frozenset({429, -32005, -32016, -32603, -32002})
"""Too many requests (an HTTP status, EIP-1474's, another common one); internal error; not ready."""
_TEMPORARY_WORDS: Final = re.compile(
    r"header not found|missing trie node|indexing is in progress|block not found|unknown block|"
    r"state (is )?not available|rate.?limit|too many requests|compute units|request count|"
    r"per second|capacity|throttl|overloaded|temporar|timed? ?out|try again|busy|not ready|syncing",
    re.IGNORECASE,
)
_LASTING_WORDS: Final = re.compile(
    r"nonce|insufficient funds|underpriced|already known|known transaction|already imported|"
    r"intrinsic gas|fee (too low|cap)|does not exist|not supported|unauthori[sz]ed|invalid param",
    re.IGNORECASE,
)
"""Permanent refusals, under any code: some nodes send all errors with -32603."""
_TOO_WIDE_WORDS: Final = re.compile(
    r"\brange\b|results|too many logs|response size|too (large|big|wide)|number of blocks|"
    r"at most [\d,]+ blocks|more than [\d,]+|query timeout|query exceeds",
    re.IGNORECASE,
)
_RATE_WORDS: Final = re.compile(
    r"rate.?limit|too many requests|compute units|request count|per second|capacity|throttl",
    re.IGNORECASE,
)
_HEXADECIMAL: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_QUANTITY: Final = re.compile(r"0x[0-9a-fA-F]+")
_PARITY_REVERT: Final = "Reverted "


class PassingRefusalError(ChainUnavailableError):
    """The node refused for a temporary reason, in all retries."""


class UnexpectedAnswerError(ChainUnavailableError):
    """The node's answer does not have the form of the method's results."""


class SpanTooWideError(LedgerError):
    """The node refuses logs of that many blocks, or that many logs, in one answer."""


def _revert_data(error: Any) -> bytes | None:
    """Return the revert data of a JSON-RPC error, ``None`` if it is not a revert."""
    if not isinstance(error, dict):
        return None
    data = error.get("data")
    if isinstance(data, dict):
        data = data.get("data")
    text = data if isinstance(data, str) else ""
    reverted = "revert" in str(error.get("message", "")).lower() or text.startswith(_PARITY_REVERT)
    if not reverted and not (error.get("code") == 3 and text.startswith("0x")):
        return None
    digits = text.removeprefix(_PARITY_REVERT)
    return bytes.fromhex(digits[2:]) if _HEXADECIMAL.fullmatch(digits) else b""


def _refusal(where: str, method: str, error: Any) -> LedgerError:
    """Return the error for a node's refusal: temporary, too wide a span, or permanent."""
    if not isinstance(error, dict):
        return LedgerError(f"{where}: {method} refused: {str(error)[:_SHOWN]}")
    code, message = error.get("code"), str(error.get("message", ""))
    text = f"{where}: {method} refused: {message}" + ("" if code is None else f" ({code})")
    if (
        method == "eth_getLogs"
        and _TOO_WIDE_WORDS.search(message)
        and not _RATE_WORDS.search(message)
    ):
        return SpanTooWideError(text)
    temporary = code in _TEMPORARY_CODES or _TEMPORARY_WORDS.search(message)
    if temporary and not _LASTING_WORDS.search(message):
        return PassingRefusalError(text)
    return LedgerError(text)


def shown(value: Any) -> str:
    """Return the beginning of an answer, for messages."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def rpc_of(w3: Web3) -> "Rpc":
    """Return the JSON-RPC client for a connection's provider.

    Raises
    ------
    LedgerError
        If the provider is asynchronous.
    """
    provider = w3.provider
    if not isinstance(provider, BaseProvider):
        raise LedgerError(f"provider {type(provider).__name__} is not a synchronous one")
    return Rpc(provider)


class Rpc:
    """JSON-RPC client of one node."""

    patience_s: float = PATIENCE_S
    """How long a request is retried after temporary refusals; never for an embedded node."""

    def __init__(self, provider: BaseProvider) -> None:
        self.provider = provider

    def request(self, method: str, *params: Any) -> Any:
        """Return a method's result; retried for ``patience_s`` after temporary refusals.

        Raises
        ------
        ChainUnavailableError
            If the node does not answer, is busy, or sends a malformed answer.
        TransactionRevertedError
            If the node ran a call and it reverted.
        LedgerError
            If the node refuses for another reason.
        """
        patience_s = 0.0 if self.embedded_node is not None else self.patience_s
        end, pause_s = time.monotonic() + patience_s, _FIRST_PAUSE_S
        while True:
            try:
                return self.request_once(method, *params)
            except PassingRefusalError:
                if time.monotonic() + pause_s > end:
                    raise
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def request_once(self, method: str, *params: Any) -> Any:
        """Return a method's result, without retries; raises as :meth:`request`."""
        try:
            response: Any = self.provider.make_request(RPCEndpoint(method), list(params))
        except UnreachableError as error:
            raise ChainUnavailableError(f"{self.where}: {method}: {error}") from error
        except AnswerTooLongError as error:
            kind = SpanTooWideError if method == "eth_getLogs" else ChainUnavailableError
            raise kind(f"{self.where}: {method}: {error}") from error
        except (OSError, ValueError, Web3Exception) as error:
            raise ChainUnavailableError(
                f"{self.where}: {method} failed: {type(error).__name__}: {error}"
            ) from error
        if not isinstance(response, Mapping):
            raise self.unexpected(method, response, "a JSON-RPC object")
        reported = response.get("error")
        if reported is None:
            if "result" not in response:
                raise self.unexpected(method, dict(response), "a result or an error")
            return response["result"]
        data = _revert_data(reported)
        if data is not None:
            reason = reason_text(data)
            raise TransactionRevertedError(f"{method} reverted: {reason}", reason=reason)
        raise _refusal(self.where, method, reported)

    def unexpected(self, method: str, answer: Any, expected: str) -> UnexpectedAnswerError:
        """Return the error for an answer of another form than the method's results."""
        return UnexpectedAnswerError(
            f"{self.where}: {method} answered {shown(answer)}, expected {expected}"
        )

    @property
    def embedded_node(self) -> BlockProducer | None:
        """The node itself, if it runs in this process."""
        dispatcher = getattr(self.provider, "dispatcher", None)
        return None if dispatcher is None else cast(BlockProducer, dispatcher.node)

    @property
    def where(self) -> str:
        """The node, for messages."""
        uri = getattr(self.provider, "endpoint_uri", None)
        return f"node {uri}" if uri else "embedded node"

    def call(self, to: str, data: bytes, block: int | str = "latest", **fields: str) -> bytes:
        """Run a call without a transaction and return its result.

        Raises
        ------
        TransactionRevertedError
            If it reverts.
        """
        tag = block if isinstance(block, str) else hex(block)
        return self.data("eth_call", {"to": to, "data": "0x" + data.hex(), **fields}, tag)

    def data(self, method: str, *params: Any) -> bytes:
        """Return a method's result as bytes."""
        answer = self.request(method, *params)
        if not isinstance(answer, str) or not _HEXADECIMAL.fullmatch(answer):
            raise self.unexpected(method, answer, "0x and pairs of hexadecimal digits")
        return bytes.fromhex(answer[2:])

    def code(self, address: str) -> bytes:
        """Return the current code of a contract, empty if there is none."""
        return self.data("eth_getCode", address, "latest")

    def quantity(self, method: str, *params: Any) -> int:
        """Return a method's result as a number."""
        return self._number(method, "the answer", self.request(method, *params))

    def _number(self, method: str, name: str, answer: Any) -> int:
        if not isinstance(answer, str) or not _QUANTITY.fullmatch(answer):
            raise self.unexpected(method, answer, f"{name} to be 0x and hexadecimal digits")
        return int(answer, 16)

    def block(self, tag: int | str = "latest") -> BlockInfo:
        """Return a block by number or tag.

        Raises
        ------
        LedgerError
            If there is no such block.
        """
        name = tag if isinstance(tag, str) else hex(tag)
        block = self.fields("eth_getBlockByNumber", name, False)
        if block is None:
            raise LedgerError(f"{self.where}: there is no block {name}")
        return BlockInfo(
            number=block.number("number"),
            hash=block.digest("hash"),
            timestamp=block.number("timestamp"),
            base_fee_wei=Wei(block.number("baseFeePerGas")),
        )

    def block_hash(self, number: int) -> bytes | None:
        """Return the 32-byte hash of a block, ``None`` if the chain is not that high."""
        block = self.fields("eth_getBlockByNumber", hex(number), False)
        return None if block is None else block.digest("hash")

    def pending_time(self) -> int | None:
        """Return the time of the pending block, ``None`` if the node shows none."""
        block = self.fields("eth_getBlockByNumber", "pending", False)
        return None if block is None else block.number("timestamp")

    def fields(self, method: str, *params: Any) -> "Fields | None":
        """Return a method's result as an object whose fields are checked, ``None`` for null."""
        answer = self.request(method, *params)
        return None if answer is None else Fields(self, method, answer)


class Fields:
    """A JSON object from a node; each field is checked when it is read.

    Raises
    ------
    UnexpectedAnswerError
        If ``answer`` is not an object.
    """

    def __init__(self, rpc: Rpc, method: str, answer: Any) -> None:
        self._rpc, self._method = rpc, method
        if not isinstance(answer, Mapping):
            raise rpc.unexpected(method, answer, "an object")
        self.values: Mapping[str, Any] = answer

    def _unexpected(self, name: str, expected: str) -> UnexpectedAnswerError:
        value = shown(self.values[name]) if name in self.values else "nothing"
        return UnexpectedAnswerError(
            f"{self._rpc.where}: {self._method} answered {name} = {value}, expected {expected}"
        )

    def number(self, name: str) -> int:
        """Return a quantity."""
        value = self.values.get(name)
        if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
            raise self._unexpected(name, "0x and hexadecimal digits")
        return int(value, 16)

    def data(self, name: str, size: int | None = None) -> bytes:
        """Return a field of bytes, which must be ``size`` bytes if that is given."""
        value = self.values.get(name)
        if not isinstance(value, str) or not _HEXADECIMAL.fullmatch(value):
            raise self._unexpected(name, "0x and pairs of hexadecimal digits")
        decoded = bytes.fromhex(value[2:])
        if size is not None and len(decoded) != size:
            raise self._unexpected(name, f"{size} bytes")
        return decoded

    def digest(self, name: str) -> bytes:
        """Return a field of 32 bytes."""
        return self.data(name, 32)

    def address(self, name: str) -> str:
        """Return an address in lower case."""
        return "0x" + self.data(name, 20).hex()

    def objects(self, name: str) -> list["Fields"]:
        """Return a list of objects."""
        items = self.values.get(name)
        if not isinstance(items, list):
            raise self._unexpected(name, "a list")
        return [Fields(self._rpc, self._method, item) for item in items]

    def words(self, name: str) -> list[bytes]:
        """Return a list of 32-byte words."""
        items = self.values.get(name)
        if not isinstance(items, list):
            raise self._unexpected(name, "a list")
        by_index = {str(index): item for index, item in enumerate(items)}
        fields = Fields(self._rpc, f"{self._method}, {name}", by_index)
        return [fields.digest(index) for index in by_index]

    def is_null(self, name: str) -> bool:
        """Return whether a field is null or missing."""
        return self.values.get(name) is None


def hex_bytes(values: Sequence[bytes]) -> list[str]:
    """Return byte strings as JSON-RPC data."""
    return ["0x" + value.hex() for value in values]


def next_time(rpc: Rpc) -> int:
    """Return the time of the pending block, in seconds of chain time.

    Not the head's own time, which on an idle chain does not advance while deadlines pass.
    """
    return max(rpc.block().timestamp + 1, rpc.pending_time() or 0)
