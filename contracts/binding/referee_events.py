"""The referee's events as frozen records; see ``contracts.binding.events`` for the federation's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from contracts.binding.artifacts import load_artifact
from contracts.binding.events import FederationEvent, LogPlace
from coordinator.protocol.disputes.cases import CaseKind
from coordinator.protocol.errors import LedgerError
from coordinator.protocol.types import Address, RoundId, Wei


@dataclass(frozen=True, slots=True)
class RefereeEvent(FederationEvent):
    """Base of the referee's events."""


@dataclass(frozen=True, slots=True)
class CaseOpened(RefereeEvent):
    """The coordinator was asked; it must answer before ``due``."""

    id: int
    round: RoundId
    challenger: Address
    kind: CaseKind
    index: int
    chunk: int
    due: int


@dataclass(frozen=True, slots=True)
class ColumnAnswered(RefereeEvent):
    """The coordinator answered with a column's root; it may be refuted before ``due``."""

    id: int
    root: bytes
    lo: int
    hi: int
    due: int


@dataclass(frozen=True, slots=True)
class EntryDemanded(RefereeEvent):
    """An entry of an answered column was demanded; it must be published before ``due``."""

    id: int
    index: int
    due: int


@dataclass(frozen=True, slots=True)
class Answered(RefereeEvent):
    """What was demanded was published: ``evidence`` is a call of an ``answer_*`` function.

    ``due`` is 0 where that ends the case.
    """

    id: int
    evidence: bytes
    due: int


@dataclass(frozen=True, slots=True)
class CaseClosed(RefereeEvent):
    """A case ended and its deposits were credited."""

    id: int
    paid_to: Address
    deposit: Wei


@dataclass(frozen=True, slots=True)
class Convicted(RefereeEvent):
    """Fraud was proven; ``id`` is the case, 0 for none. ``offence`` is zero-padded ASCII."""

    round: RoundId
    id: int
    prover: Address
    offence: bytes

    @property
    def offence_text(self) -> str:
        """The offence without its padding."""
        return self.offence.rstrip(b"\0").decode("ascii", "backslashreplace")


@dataclass(frozen=True, slots=True)
class Collected(RefereeEvent):
    """Deposits were paid out."""

    account: Address
    amount: Wei


REFEREE_EVENT_TYPES: Final[Mapping[str, type[RefereeEvent]]] = {
    kind.__name__: kind for kind in RefereeEvent.__subclasses__()
}


def decode_referee_event(topics: Sequence[bytes], data: bytes, place: LogPlace) -> RefereeEvent:
    """Decode one log of a referee.

    Raises
    ------
    LedgerError
        If the log is none of the referee's events.
    """
    event = load_artifact("referee").events.get(topics[0] if topics else b"")
    if event is None:
        raise LedgerError(
            f"block {place.block_number}, log {place.log_index}: topic"
            f" {topics[0].hex() if topics else '(none)'} is none of the referee's events"
        )
    values = event.decode_log(topics, data)
    if event.name == "CaseOpened":
        values["kind"] = CaseKind(values["kind"])
    kind = REFEREE_EVENT_TYPES[event.name]
    ordered = [values[field.name] for field in fields(kind) if field.name != "place"]
    return kind(place, *ordered)


def decode_referee_log(log: Mapping[str, Any]) -> RefereeEvent:
    """Decode one log of a referee, as JSON-RPC gives it; raises as above."""
    where = LogPlace(
        block_number=int(log["blockNumber"], 16),
        transaction_hash=bytes.fromhex(log["transactionHash"][2:]),
        log_index=int(log["logIndex"], 16),
    )
    topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
    return decode_referee_event(topics, bytes.fromhex(log["data"][2:]), where)
