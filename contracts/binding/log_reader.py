"""The logs of one contract, read in spans of as many blocks as the node allows.

Nodes limit the number of blocks, or of logs, of one answer, each with a limit and an error message
of its own. A refused span is halved, and spans grow again after successes (ADR 0151).
:class:`EventFollower` follows a chain, and reads its newest blocks again. Not handled: decoding the
logs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from contracts.binding.records import BlockInfo, LogPlace
from contracts.binding.rpc import Fields, Rpc, SpanTooWideError
from coordinator.protocol.errors import LedgerError
from coordinator.protocol.types import Address

FIRST_SPAN_BLOCKS: Final = 2_000
WIDEST_SPAN_BLOCKS: Final = 1 << 24
_METHOD: Final = "eth_getLogs"
_GROWTH: Final = 4
_MANY_LOGS: Final = 1_000
"""Number of logs in an answer from which on the next span is not widened."""
_SUCCESSES: Final = 16
"""Answers in a row after which a span is widened again, once one was refused."""


class LogReader:
    """Reads the logs of one contract through one node.

    ``span_blocks`` is the number of blocks of the next request; it adapts to the node's limit.
    """

    def __init__(self, rpc: Rpc, address: Address) -> None:
        self._rpc, self._address = rpc, address
        self.span_blocks = FIRST_SPAN_BLOCKS
        self._was_refused = False
        self._successes = 0

    def read(
        self, first: int, last: int, topics: Sequence[str] = ()
    ) -> Iterator[Mapping[str, Any]]:
        """Yield the logs of blocks ``first..last`` in order, as JSON-RPC objects, checked.

        Raises
        ------
        ChainUnavailableError
            If the node does not answer, or answers anything but logs.
        LedgerError
            If the node refuses, even for a single block.
        """
        while first <= last:
            end = min(first + self.span_blocks - 1, last)
            try:
                logs = self._request(first, end, topics)
            except SpanTooWideError:
                if end == first:
                    raise
                self.span_blocks = max(1, (end - first + 1) // 2)
                self._was_refused, self._successes = True, 0
                continue
            self._grow(len(logs))
            yield from logs
            first = end + 1

    def _request(self, first: int, last: int, topics: Sequence[str]) -> list[Mapping[str, Any]]:
        span = {
            "address": self._address,
            "fromBlock": hex(first),
            "toBlock": hex(last),
            "topics": list(topics),
        }
        logs = self._rpc.request(_METHOD, span)
        if not isinstance(logs, list):
            raise self._rpc.unexpected(_METHOD, logs, "a list of logs")
        return [checked_log(Fields(self._rpc, _METHOD, log)) for log in logs]

    def _grow(self, count: int) -> None:
        self._successes += 1
        if count >= _MANY_LOGS or (self._was_refused and self._successes < _SUCCESSES):
            return
        factor = 2 if self._was_refused else _GROWTH
        self.span_blocks = min(factor * self.span_blocks, WIDEST_SPAN_BLOCKS)
        self._successes = 0

    def first_block(self, head: int, created: str) -> int:
        """Return a block before which the contract has no logs: that of its deployment, or 0.

        Found by bisection on the contract's code, if the node has old states, and checked by the
        event with the topic ``created``; else by a search for that event in all blocks at once, if
        the node allows one.
        """
        low, high = 0, head
        try:
            while low < high:
                middle = (low + high) // 2
                code = self._rpc.request_once("eth_getCode", self._address, hex(middle))
                low, high = (low, middle) if code not in ("0x", "", None) else (middle + 1, high)
            if self._request(low, low, [created]):
                return low
        except LedgerError:
            pass  # the node has no state of that block
        try:
            logs = self._request(0, head, [created])
        except LedgerError:
            return 0
        return min((int(log["blockNumber"], 16) for log in logs), default=0)


def checked_log(log: Fields) -> Mapping[str, Any]:
    """Return a log's fields unchanged, if those that are used have the right form.

    Raises
    ------
    UnexpectedAnswerError
        Naming the field.
    """
    log.number("blockNumber")
    log.number("logIndex")
    log.digest("transactionHash")
    log.address("address")
    log.data("data")
    log.words("topics")
    return log.values


LATE_BLOCKS: Final = 64
"""Number of newest blocks that are read again: about a quarter of an hour on Ethereum."""


class Placed(Protocol):
    """An event with its place in the chain."""

    @property
    def place(self) -> LogPlace:
        """Its place in the chain."""


E = TypeVar("E", bound=Placed)


class EventFollower(Generic[E]):
    """Follows one contract's events; each is yielded once, even if its log appears late.

    One backend of a node may report a block whose logs another does not have yet, and a chain may
    reorganise and replace a block (ADR 0152). So the newest blocks are read again each time, except
    with the node in this process, where neither happens. Events of a replaced block are not
    retracted. Not thread-safe.

    Parameters
    ----------
    events
        Reads the events of blocks from the first to the last number, in order.
    """

    def __init__(self, rpc: Rpc, events: Callable[[int, int], Iterable[E]]) -> None:
        self._rpc, self._events = rpc, events
        self._late_blocks = 0 if rpc.embedded_node is not None else LATE_BLOCKS
        self._next_block = 0
        self._yielded: set[LogPlace] = set()
        self._head: BlockInfo | None = None

    def new(self) -> Iterator[E]:
        """Yield the events since the last call; one whose handling fails is yielded again."""
        block = self._rpc.block()
        if self._head is not None and (
            block.hash == self._head.hash or block.number < self._head.number
        ):
            return  # no new block, or this backend is behind
        for event in self._events(self._next_block, block.number):
            if event.place not in self._yielded:
                yield event
                self._yielded.add(event.place)
        self._head = block
        first = self._next_block = max(0, block.number + 1 - self._late_blocks)
        self._yielded = {place for place in self._yielded if place.block_number >= first}
