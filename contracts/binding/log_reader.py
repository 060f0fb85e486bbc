"""The logs of one contract, asked for in as many blocks at a time as the node gives.

Nodes limit how many blocks, or how many logs, one answer covers, each in its own way and words. A
span that is refused is halved, and spans grow again while all goes well. Whoever
follows a chain reads its newest blocks again (:class:`EventFollower`). Not handled: what the logs
mean.
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
"""With so many logs in an answer the next span is not made wider."""
_CALM: Final = 16
"""Answers in a row after which a span that was once refused is tried again."""


class LogReader:
    """Reads the logs of one contract through one node.

    ``span_blocks`` is what is asked for next; what was learnt of the node's limit is kept.
    """

    def __init__(self, rpc: Rpc, address: Address) -> None:
        self._rpc, self._address = rpc, address
        self.span_blocks = FIRST_SPAN_BLOCKS
        self._was_refused = False
        self._calm = 0

    def read(
        self, first: int, last: int, topics: Sequence[str] = ()
    ) -> Iterator[Mapping[str, Any]]:
        """Yield the logs of blocks ``first..last`` in order, as JSON-RPC gives them, checked.

        Raises
        ------
        ChainUnavailableError
            If the node does not answer, or not with logs.
        LedgerError
            If it refuses, even for a single block.
        """
        while first <= last:
            end = min(first + self.span_blocks - 1, last)
            try:
                logs = self._ask(first, end, topics)
            except SpanTooWideError:
                if end == first:
                    raise
                self.span_blocks = max(1, (end - first + 1) // 2)
                self._was_refused, self._calm = True, 0
                continue
            self._grow(len(logs))
            yield from logs
            first = end + 1

    def _ask(self, first: int, last: int, topics: Sequence[str]) -> list[Mapping[str, Any]]:
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
        self._calm += 1
        if count >= _MANY_LOGS or (self._was_refused and self._calm < _CALM):
            return
        factor = 2 if self._was_refused else _GROWTH
        self.span_blocks, self._calm = min(factor * self.span_blocks, WIDEST_SPAN_BLOCKS), 0

    def first_block(self, head: int, created: str) -> int:
        """Return a block before which the contract has no logs: that of its deployment, or 0.

        By bisection of where its code is, which takes a node that knows old states, checked by the
        event with the topic ``created``; else by that, if the node looks for it in all blocks at
        once.
        """
        low, high = 0, head
        try:
            while low < high:
                middle = (low + high) // 2
                code = self._rpc.request_once("eth_getCode", self._address, hex(middle))
                low, high = (low, middle) if code not in ("0x", "", None) else (middle + 1, high)
            if self._ask(low, low, [created]):
                return low
        except LedgerError:
            pass  # it has no state of that block
        try:
            logs = self._ask(0, head, [created])
        except LedgerError:
            return 0
        return min((int(log["blockNumber"], 16) for log in logs), default=0)


def checked_log(log: Fields) -> Mapping[str, Any]:
    """Return a log as it came, if every field that is read of it has the right form.

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
    return log.found


LATE_BLOCKS: Final = 64
"""How many of the newest blocks are read again: about a quarter of an hour on Ethereum."""


class Placed(Protocol):
    """Whatever has a place in the chain."""

    @property
    def place(self) -> LogPlace:
        """Where in the chain it stands."""


E = TypeVar("E", bound=Placed)


class EventFollower(Generic[E]):
    """Follows one contract's events; each is given once, also where its log came late.

    One backend of a node may name a block whose logs another does not have yet, and on a chain that
    reorganises a block may be replaced. So the newest blocks are read again at each look, except
    of the node in this process, where neither happens. What a replaced block held is not taken
    back. Not safe for several threads at once.

    Parameters
    ----------
    events
        Reads the events of blocks from the first to the last number, in order.
    """

    def __init__(self, rpc: Rpc, events: Callable[[int, int], Iterable[E]]) -> None:
        self._rpc, self._events = rpc, events
        self._late_blocks = 0 if rpc.embedded_node is not None else LATE_BLOCKS
        self._next_block = 0
        self._given: set[LogPlace] = set()
        self._head: BlockInfo | None = None

    def new(self) -> Iterator[E]:
        """Yield the events since the last look; one whose handling fails is yielded again."""
        block = self._rpc.block()
        if self._head is not None and (
            block.hash == self._head.hash or block.number < self._head.number
        ):
            return  # nothing has come, or this backend is behind
        for event in self._events(self._next_block, block.number):
            if event.place not in self._given:
                yield event
                self._given.add(event.place)
        self._head = block
        self._next_block = max(0, block.number + 1 - self._late_blocks)
        self._given = {place for place in self._given if place.block_number >= self._next_block}
