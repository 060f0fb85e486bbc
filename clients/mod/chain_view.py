"""What a contributor asks the chain before it trains: which model, which rule, still open?

A contributor takes nothing from the coordinator on trust: the root of the model it receives is
compared with the one the contract stores, and the EIP-712 domain it signs for is its own
setting. Not handled: following the chain's headers (``docs/protocol.md`` §1 names that trust).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

from coordinator.protocol.errors import ChainUnavailableError
from coordinator.protocol.types import RoundId, SigningDomain

RoundStatus = Literal["none", "open", "sealed", "settled", "final", "void"]
_ZERO_ROOT = bytes(32)


@dataclass(frozen=True, slots=True)
class RoundFacts:
    """A round as the contract stores it, as far as a contributor needs it.

    ``new_model_root`` is 32 zero bytes until the round has a result, ``commitments_root`` until its
    contributors' commitments are on chain; ``deadline`` is chain time in seconds.
    """

    status: RoundStatus
    model_root: bytes
    rule_hash: bytes
    deadline: int
    new_model_root: bytes = _ZERO_ROOT
    commitments_root: bytes = _ZERO_ROOT

    def to_json(self) -> dict[str, Any]:
        """Return the facts as plain values."""
        return {
            "status": self.status,
            "model_root": self.model_root.hex(),
            "rule_hash": self.rule_hash.hex(),
            "deadline": self.deadline,
            "new_model_root": self.new_model_root.hex(),
            "commitments_root": self.commitments_root.hex(),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "RoundFacts":
        """Read what :meth:`to_json` wrote."""
        if fields["status"] not in get_args(RoundStatus):
            raise ChainUnavailableError(
                f"chain: round status {fields['status']!r}, expected one of {get_args(RoundStatus)}"
            )
        return cls(
            status=fields["status"],
            model_root=bytes.fromhex(fields["model_root"]),
            rule_hash=bytes.fromhex(fields["rule_hash"]),
            deadline=int(fields["deadline"]),
            new_model_root=bytes.fromhex(fields["new_model_root"]),
            commitments_root=bytes.fromhex(fields["commitments_root"]),
        )


class ChainView(Protocol):
    """The federation's contract, seen from a contributor."""

    @property
    def domain(self) -> SigningDomain:
        """The federation the contributor joined: the only one it signs for."""

    def round(self, round_id: RoundId) -> RoundFacts:
        """Return what the contract stores of a round.

        Raises
        ------
        ChainUnavailableError
            If the node does not answer.
        """


class StaticChainView:
    """Facts given beforehand: for tests, and for replaying a round by hand."""

    def __init__(self, domain: SigningDomain, rounds: Mapping[RoundId, RoundFacts]) -> None:
        self._domain = domain
        self._rounds = rounds

    @property
    def domain(self) -> SigningDomain:
        """The domain given at construction."""
        return self._domain

    def round(self, round_id: RoundId) -> RoundFacts:
        """Return the facts given for a round, status ``none`` if there are none."""
        return self._rounds.get(round_id, RoundFacts("none", _ZERO_ROOT, _ZERO_ROOT, 0))


class CachedChainView:
    """Asks another view once a round: what a process trains many clients with.

    Only an answer that already settles the caller's question is kept: ``seen_open`` rounds for
    training. A round that was open may be sealed by now, so :meth:`refreshed` asks again.
    """

    def __init__(self, view: ChainView) -> None:
        self._view = view
        self._known: dict[RoundId, RoundFacts] = {}

    @property
    def domain(self) -> SigningDomain:
        """The underlying view's domain."""
        return self._view.domain

    def round(self, round_id: RoundId) -> RoundFacts:
        """Return the facts as last read, reading them if they are not known."""
        facts = self._known.get(round_id)
        return facts if facts is not None else self.refreshed(round_id)

    def refreshed(self, round_id: RoundId) -> RoundFacts:
        """Read a round's facts again."""
        facts = self._view.round(round_id)
        if facts.status != "none":
            self._known = {
                known: value for known, value in self._known.items() if known >= round_id - 1
            }
            self._known[round_id] = facts
        return facts
