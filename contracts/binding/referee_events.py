"""The referee's events as records.

Generated from ``contracts/abi/referee.json`` by ``python -m contracts.compile``: change
the contract, not this file. Amounts in wei, times in seconds of chain time; 32-byte digests as
``bytes``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from contracts.binding.records import ContractEvent
from coordinator.protocol.types import Address, RoundId, Wei


@dataclass(frozen=True, slots=True)
class RefereeEvent(ContractEvent):
    """Base of the referee's events."""


@dataclass(frozen=True, slots=True)
class CaseOpened(RefereeEvent):
    """The coordinator was asked; it must answer before ``due``.

    ``kind`` is a number of ``CaseKind``.
    """

    id: int
    round: RoundId
    challenger: Address
    kind: int
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

    ``due`` is 0 where that ends the case. Anyone may answer, so ``evidence`` may be encoded in any
    way that the examiner's decoder accepts.
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
    """Fraud was proven; ``id`` is the case, 0 for none.

    ``offence`` is zero-padded ASCII.
    """

    round: RoundId
    id: int
    prover: Address
    offence: bytes

    @property
    def offence_text(self) -> str:
        """The offence without its padding, bytes that are no ASCII escaped."""
        return self.offence.rstrip(b"\0").decode("ascii", "backslashreplace")


@dataclass(frozen=True, slots=True)
class Collected(RefereeEvent):
    """Deposits were paid out."""

    account: Address
    amount: Wei


REFEREE_EVENT_TYPES: Final[Mapping[str, type[RefereeEvent]]] = {
    "CaseOpened": CaseOpened,
    "ColumnAnswered": ColumnAnswered,
    "EntryDemanded": EntryDemanded,
    "Answered": Answered,
    "CaseClosed": CaseClosed,
    "Convicted": Convicted,
    "Collected": Collected,
}
