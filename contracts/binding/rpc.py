"""JSON-RPC to any node, and the translation of its failures into the project's errors.

Speaks through a web3 provider (in process, HTTP, IPC) but below web3's middleware: one dispatch,
no formatters, and errors seen as the node sent them.
"""

from collections.abc import Sequence
from typing import Any, cast

from web3 import Web3
from web3.exceptions import Web3Exception
from web3.providers import BaseProvider
from web3.types import RPCEndpoint

from contracts.binding.http_client import UnreachableError
from contracts.binding.records import BlockInfo
from contracts.blocks import BlockProducer, revert_reason
from coordinator.protocol.errors import ChainUnavailableError, LedgerError, TransactionRevertedError
from coordinator.protocol.types import Wei


def reason_text(data: bytes) -> str:
    """Return the reason in a revert's data: the string, ``panic 0x..``, or hex of what it is."""
    return revert_reason(data) or data.hex()


def _revert_data(error: Any) -> bytes | None:
    """Return the revert data of a JSON-RPC error, ``None`` if it is no revert."""
    if not isinstance(error, dict):
        return None
    data = error.get("data")
    if isinstance(data, dict):
        data = data.get("data")
    reverted = "revert" in str(error.get("message", "")).lower()
    if isinstance(data, str) and data.startswith("0x") and (reverted or error.get("code") == 3):
        return bytes.fromhex(data[2:])
    return b"" if reverted else None


def rpc_of(w3: Web3) -> "Rpc":
    """Return JSON-RPC through a connection's provider.

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
    """One node. Quantities come back as the node sends them: hexadecimal strings."""

    def __init__(self, provider: BaseProvider) -> None:
        self.provider = provider

    def request(self, method: str, *params: Any) -> Any:
        """Return a method's result.

        Raises
        ------
        ChainUnavailableError
            If the node does not answer.
        TransactionRevertedError
            If the node ran a call and it reverted.
        LedgerError
            If the node refuses for another reason.
        """
        try:
            response = self.provider.make_request(RPCEndpoint(method), list(params))
        except UnreachableError as failed:
            raise ChainUnavailableError(f"{self.where}: {method}: {failed}") from failed
        except (OSError, ValueError, Web3Exception) as failed:
            raise ChainUnavailableError(
                f"{self.where}: {method} failed: {type(failed).__name__}: {failed}"
            ) from failed
        error = response.get("error")
        if error is None:
            if "result" not in response:
                raise LedgerError(
                    f"{self.where}: {method}: the answer has neither result nor error"
                )
            return response["result"]
        data = _revert_data(error)
        if data is not None:
            reason = reason_text(data)
            raise TransactionRevertedError(f"{method} reverted: {reason}", reason=reason)
        message = error.get("message") if isinstance(error, dict) else error
        raise LedgerError(f"{self.where}: {method} refused: {message}")

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
        result = self.request("eth_call", {"to": to, "data": "0x" + data.hex(), **fields}, tag)
        return bytes.fromhex(result[2:])

    def quantity(self, method: str, *params: Any) -> int:
        """Return a method's result as a number."""
        return int(self.request(method, *params), 16)

    def block(self, tag: int | str = "latest") -> BlockInfo:
        """Return a block by number or tag.

        Raises
        ------
        LedgerError
            If there is none.
        """
        name = tag if isinstance(tag, str) else hex(tag)
        found = self.request("eth_getBlockByNumber", name, False)
        if found is None:
            raise LedgerError(f"{self.where}: there is no block {name}")
        return BlockInfo(
            number=int(found["number"], 16),
            hash=bytes.fromhex(found["hash"][2:]),
            timestamp=int(found["timestamp"], 16),
            base_fee_wei=Wei(int(found["baseFeePerGas"], 16)),
        )


def hex_bytes(values: Sequence[bytes]) -> list[str]:
    """Return byte strings as JSON-RPC data."""
    return ["0x" + value.hex() for value in values]


def next_time(rpc: Rpc) -> int:
    """Return the time of the block that is being made, in seconds of chain time.

    The head's own time will not do: on an idle chain it stands still while deadlines pass.
    """
    head = rpc.block().timestamp
    pending = rpc.request("eth_getBlockByNumber", "pending", False)
    found = int(pending["timestamp"], 16) if pending else 0
    return max(head + 1, found)
