"""Logs of the contracts, decoded into their typed events.

The classes are in ``events`` and ``referee_events``. A node may send anything: a log that is not
the contract's is refused with a message that names its place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from eth_abi.exceptions import DecodingError

from contracts.binding.artifacts import load_artifact
from contracts.binding.events import EVENT_TYPES, FederationEvent
from contracts.binding.records import ContractEvent, LogPlace, Terms
from contracts.binding.referee_events import REFEREE_EVENT_TYPES, RefereeEvent
from coordinator.protocol.errors import LedgerError

EventT = TypeVar("EventT", bound=ContractEvent)


@dataclass(frozen=True, slots=True)
class EventSet(Generic[EventT]):
    """The events of one contract, by name of its artifact."""

    contract: str
    types: Mapping[str, type[EventT]]

    def topic(self, kind: type[EventT]) -> bytes:
        """Return the first topic of an event's logs, 32 bytes."""
        events = load_artifact(self.contract).events.values()
        return next(event.topic for event in events if event.name == kind.__name__)

    def decode(self, topics: Sequence[bytes], data: bytes, place: LogPlace) -> EventT:
        """Decode one log.

        Raises
        ------
        LedgerError
            If the log is not one of the contract's events.
        """
        event = load_artifact(self.contract).events.get(topics[0] if topics else b"")
        if event is None:
            topic = topics[0].hex() if topics else "(none)"
            raise LedgerError(
                f"block {place.block_number}, log {place.log_index}: topic {topic} is not one of"
                f" the {self.contract}'s events"
            )
        try:
            values = event.decode_log(topics, data)
        except DecodingError as error:
            raise LedgerError(
                f"block {place.block_number}, log {place.log_index}: no {event.name} event: {error}"
            ) from error
        if event.name == "FederationCreated":
            values = (Terms.from_abi(values[0]),)
        return self.types[event.name](place, *values)

    def decode_log(self, log: Mapping[str, Any]) -> EventT:
        """Decode one log, a JSON-RPC object; raises as :meth:`decode`."""
        try:
            place = LogPlace(
                block_number=int(log["blockNumber"], 16),
                transaction_hash=bytes.fromhex(log["transactionHash"][2:]),
                log_index=int(log["logIndex"], 16),
            )
            topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
            data = bytes.fromhex(log["data"][2:])
        except (KeyError, TypeError, ValueError) as error:
            raise LedgerError(f"{str(log)[:80]}: expected a mined log ({error!r})") from error
        return self.decode(topics, data, place)


FEDERATION_EVENTS: Final[EventSet[FederationEvent]] = EventSet("federation", EVENT_TYPES)
REFEREE_EVENTS: Final[EventSet[RefereeEvent]] = EventSet("referee", REFEREE_EVENT_TYPES)
EVENT_SETS: Final[Mapping[str, EventSet[Any]]] = {
    "federation": FEDERATION_EVENTS,
    "referee": REFEREE_EVENTS,
    "aggregate_examiner": EventSet("aggregate_examiner", {}),
    "record_examiner": EventSet("record_examiner", {}),
}
"""By name of the contract's artifact; the examiners have no events."""
