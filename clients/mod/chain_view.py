"""A contributor's view of the chain before it trains: a round's model, rule and status.

A contributor does not trust the coordinator: the root of the model that it receives is compared
with the one the contract stores, and the EIP-712 domain that it signs for is its own setting
(ADR 63). Not handled: following the chain's headers (``docs/protocol.md`` §1 names that trust).
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, Protocol

from coordinator.protocol.errors import ChainUnavailableError
from coordinator.protocol.round.chain_round import ChainRound, RoundStatus
from coordinator.protocol.types import JsonObject, RoundId, SigningDomain


def chain_round_json(chain_round: ChainRound) -> JsonObject:
    """Return a round as plain values: bytes in hexadecimal, the status as its word."""
    values = asdict(chain_round)
    plain = {k: v.hex() if isinstance(v, bytes) else v for k, v in values.items()}
    return {**plain, "status": chain_round.status.word}


def chain_round_from_json(values: Mapping[str, Any]) -> ChainRound:
    """Return the round that :func:`chain_round_json` encoded.

    Raises
    ------
    ChainUnavailableError
        If a field is missing or malformed.
    """
    try:
        plain = {field.name: values[field.name] for field in fields(ChainRound)}
        plain["status"] = RoundStatus.from_word(plain["status"])
        roots = [name for name in plain if name.endswith(("_root", "_hash"))]
        plain.update((name, bytes.fromhex(plain[name])) for name in roots)
        return ChainRound(**plain)
    except (KeyError, TypeError, ValueError) as error:
        raise ChainUnavailableError(f"chain: {type(error).__name__}: {error}") from error


class ChainView(Protocol):
    """The federation's contract, as a contributor reads it."""

    @property
    def domain(self) -> SigningDomain:
        """The signing domain of the joined federation, the only one that is signed for."""

    def round(self, round_id: RoundId) -> ChainRound:
        """Return a round as the contract stores it; status NONE if it never opened.

        Raises
        ------
        ChainUnavailableError
            If the node does not answer.
        """


class StaticChainView:
    """A view of given rounds, for tests and for replaying a round by hand."""

    def __init__(self, domain: SigningDomain, rounds: Mapping[RoundId, ChainRound]) -> None:
        self._domain = domain
        self._rounds = rounds

    @property
    def domain(self) -> SigningDomain:
        """The domain given at construction."""
        return self._domain

    def round(self, round_id: RoundId) -> ChainRound:
        """Return the given round, with status NONE if there is none."""
        return self._rounds.get(round_id, ChainRound(round_id, RoundStatus.NONE))


class CachedChainView:
    """A view that reads each round once, for a process that trains many clients.

    A round that never opened is read again each time. One that was open may be sealed by now:
    :meth:`refreshed` reads it again.
    """

    def __init__(self, view: ChainView) -> None:
        self._view = view
        self._known: dict[RoundId, ChainRound] = {}

    @property
    def domain(self) -> SigningDomain:
        """The underlying view's domain."""
        return self._view.domain

    def round(self, round_id: RoundId) -> ChainRound:
        """Return a round as last read, reading it if it is not known."""
        known = self._known.get(round_id)
        return known if known is not None else self.refreshed(round_id)

    def refreshed(self, round_id: RoundId) -> ChainRound:
        """Read a round again."""
        read = self._view.round(round_id)
        if read.status is not RoundStatus.NONE:
            self._known = {
                known: value for known, value in self._known.items() if known >= round_id - 1
            }
            self._known[round_id] = read
        return read
