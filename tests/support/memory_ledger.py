"""In-memory fakes of every port, complete enough to run and verify whole federations.

``MemoryLedger`` follows the contract's rules (phases, stacking, windows, one open round), with a
clock the caller moves. The integration suite runs against these and the real adapters alike.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from memory_store import MemoryJournal, MemoryStore

from coordinator.ports import ChainHead
from coordinator.protocol.errors import TransactionRevertedError
from coordinator.protocol.instructions import contract_of
from coordinator.protocol.round.chain_round import ChainRound, RoundStatus, Seal, Settlement
from coordinator.protocol.signatures.eip712 import (
    address_of_key,
    sign_statement,
    verify_statement,
)
from coordinator.protocol.types import (
    Address,
    RoundId,
    RoundInstruction,
    Signed,
    SigningDomain,
    UpdateMessage,
    Wei,
)

__all__ = ["CONTRACT", "COORDINATOR_KEY", "MemoryJournal", "MemoryLedger", "MemoryStore"]

COORDINATOR_KEY = bytes(31) + b"\x2a"
CONTRACT = contract_of(address_of_key(COORDINATOR_KEY))
"""The contract whose coordinator has that key."""

_ZERO = bytes(32)


@dataclass
class MemoryLedger:
    """A :class:`~coordinator.ports.Ledger` that keeps the contract's rules in Python.

    ``bonds`` are current bonds; a change counts from the next round that opens. ``time`` is chain
    time and moves only when the test moves it.
    """

    initial_model_root: bytes
    bonds: dict[Address, Wei]
    signing_domain: SigningDomain
    round_budget_wei: Wei = Wei(0)
    pool_wei: Wei = Wei(0)
    min_contributors: int = 1
    challenge_window_s: int = 0
    time: int = 1_700_000_000
    rounds: dict[int, ChainRound] = field(default_factory=dict)
    slashed: dict[tuple[int, Address], Wei] = field(default_factory=dict)
    void_reasons: dict[int, str] = field(default_factory=dict)
    _stakes: dict[int, dict[Address, Wei]] = field(default_factory=dict)
    _members: list[Address] = field(default_factory=list)
    _head: ChainHead | None = None

    def __post_init__(self) -> None:
        self._members = list(self.bonds)
        zero = RoundId(0)
        self._head = ChainHead(zero, zero, zero, zero, self.initial_model_root)

    def domain(self) -> SigningDomain:
        """Return the EIP-712 domain."""
        return self.signing_domain

    def now(self) -> int:
        """Return the chain time."""
        return self.time

    def head(self) -> ChainHead:
        """Return the live head."""
        assert self._head is not None
        return self._head

    def round(self, round_id: RoundId) -> ChainRound:
        """Return one round, with status NONE if it was never opened, as the contract does."""
        return self.rounds.get(int(round_id)) or ChainRound(round_id, RoundStatus.NONE)

    def round_at_height(self, height: int) -> RoundId:
        """Return the live round at a height, or 0."""
        cursor = self.head().last_sealed
        while cursor and self.rounds[cursor].height != height:
            cursor = self.rounds[cursor].parent
        return cursor

    def members(self, count: int) -> Sequence[Address]:
        """Return the first members."""
        return self._members[:count]

    def stakes_at(self, round_id: RoundId) -> Mapping[Address, Wei]:
        """Return the bonds when a round opened."""
        return self._stakes[int(round_id)]

    def seal_seed(self, round_id: RoundId) -> bytes:
        """Return a digest of the sealed roots, in place of a block hash."""
        state = self.round(round_id)
        return hashlib.sha256(state.contributors_root + state.new_model_root).digest()

    def sign_instruction(self, statement: RoundInstruction) -> Signed[RoundInstruction]:
        """Sign as the coordinator."""
        return sign_statement(self.signing_domain, statement, COORDINATOR_KEY)

    def join(self, address: Address, bond_wei: Wei) -> None:
        """Bond an account; counts from the next round."""
        if address not in self._members:
            self._members.append(address)
        self.bonds[address] = bond_wei

    def open_round(
        self, round_id: RoundId, model_root: bytes, rule_hash: bytes, deadline: int
    ) -> None:
        """Open a round."""
        head = self.head()
        _require(round_id == head.last_opened + 1, "round: wrong number")
        last = self.rounds.get(int(head.last_opened))
        _require(last is None or last.status != RoundStatus.OPEN, "round: one is open")
        _require(model_root == head.model_root, "round: wrong model")
        _require(deadline > self.time, "round: deadline in the past")
        parent = self.rounds.get(int(head.last_sealed))
        pledged = sum(r.budget_wei for r in self.rounds.values() if r.status.is_disputable)
        budget = min(self.round_budget_wei, self.pool_wei - pledged)
        self._stakes[int(round_id)] = {a: b for a, b in self.bonds.items() if b > 0}
        self.rounds[int(round_id)] = replace(
            ChainRound(round_id, RoundStatus.OPEN),
            parent=head.last_sealed,
            height=(parent.height if parent else 0) + 1,
            model_root=model_root,
            rule_hash=rule_hash,
            opened_at=self.time,
            deadline=deadline,
            budget_wei=Wei(budget),
            pledged_cum_wei=Wei((parent.pledged_cum_wei if parent else 0) + budget),
            member_count=len(self._members),
        )
        self._head = replace(head, last_opened=round_id)

    def commit_updates(self, round_id: RoundId, *, commitments_root: bytes, count: int) -> None:
        """Fix the commitments of the open round."""
        state = self._expect(round_id, RoundStatus.OPEN)
        _require(self.time < state.deadline, "round: deadline passed")
        _require(commitments_root != _ZERO, "round: empty root")
        _require(state.commitments_root == _ZERO, "round: already committed")
        self.rounds[int(round_id)] = replace(
            state, commitments_root=commitments_root, commitments_count=count
        )

    def seal_round(self, round_id: RoundId, seal: Seal) -> None:
        """Seal the open round."""
        state = self._expect(round_id, RoundStatus.OPEN)
        _require(self.time < state.deadline, "round: deadline passed")
        _require(seal.n >= self.min_contributors, "round: too few contributors")
        self.rounds[int(round_id)] = replace(
            state,
            status=RoundStatus.SEALED,
            **asdict(seal),
            sealed_at=self.time,
            seal_block=int(round_id),
        )
        self._head = replace(self.head(), last_sealed=round_id, model_root=seal.new_model_root)

    def settle_round(self, round_id: RoundId, settlement: Settlement) -> None:
        """Settle a sealed round."""
        state = self._expect(round_id, RoundStatus.SEALED)
        _require(state.parent == self.head().last_settled, "round: not the next to settle")
        _require(settlement.paid_wei <= state.budget_wei, "round: over budget")
        self.rounds[int(round_id)] = replace(
            state,
            status=RoundStatus.SETTLED,
            **asdict(settlement),
            settled_at=self.time,
            finalizable_at=self.time + self.challenge_window_s,
        )
        self._head = replace(self.head(), last_settled=round_id)

    def finalize_round(self, round_id: RoundId) -> None:
        """Make a settled round final."""
        state = self._expect(round_id, RoundStatus.SETTLED)
        _require(state.parent == self.head().last_final, "round: not the next to finalise")
        _require(state.can_be_final(self.time), "round: window open")
        self.rounds[int(round_id)] = replace(state, status=RoundStatus.FINAL)
        self.pool_wei = Wei(self.pool_wei - state.paid_wei)
        self._head = replace(self.head(), last_final=round_id)

    def void_round(self, round_id: RoundId, reason: str) -> None:
        """Give up the open round."""
        state = self._expect(round_id, RoundStatus.OPEN)
        self.rounds[int(round_id)] = replace(state, status=RoundStatus.VOID)
        self.void_reasons[int(round_id)] = reason

    def convict(self, round_id: RoundId, reason: str) -> None:
        """Void a sealed round and all stacked on it, as a referee's verdict does."""
        guilty = self._expect(round_id, RoundStatus.SEALED, RoundStatus.SETTLED)
        for number, state in self.rounds.items():
            if (
                state.height >= guilty.height
                and RoundStatus.OPEN <= state.status <= RoundStatus.SETTLED
            ):
                self.rounds[number] = replace(state, status=RoundStatus.VOID)
        self.void_reasons[int(round_id)] = reason
        parent = self.rounds.get(int(guilty.parent))
        settled = parent.round_id if parent and parent.status != RoundStatus.SEALED else RoundId(0)
        self._head = replace(
            self.head(),
            last_sealed=guilty.parent,
            last_settled=min(self.head().last_settled, settled),
            model_root=guilty.model_root,
        )

    def void_reason(self, round_id: RoundId) -> str:
        """Return why a round is void."""
        reason = self.void_reasons.get(int(round_id), "")
        parent = self.rounds[int(round_id)].parent
        if reason or not parent:
            return reason
        return f"stands on round {parent}: {self.void_reason(parent)}"

    def is_equivocation_slashed(self, round_id: RoundId, contributor: Address) -> bool:
        """Return whether the offence was punished."""
        return (int(round_id), contributor) in self.slashed

    def slash_equivocation(
        self, first: Signed[UpdateMessage], second: Signed[UpdateMessage]
    ) -> Wei:
        """Take the whole bond of a contributor that signed two different updates."""
        key = (int(first.statement.round_id), first.signer)
        _require(key not in self.slashed, "evidence: already slashed")
        _require(first.statement.update != second.statement.update, "evidence: same update")
        for signed in (first, second):
            verify_statement(self.signing_domain, signed)
        taken = self.bonds.get(first.signer, Wei(0))
        self.bonds[first.signer] = Wei(0)
        self.slashed[key] = taken
        return taken

    def _expect(self, round_id: RoundId, *statuses: RoundStatus) -> ChainRound:
        state = self.rounds.get(int(round_id))
        _require(state is not None and state.status in statuses, f"round: not {statuses[0].word}")
        assert state is not None
        return state


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise TransactionRevertedError(f"the ledger refused: {reason}", reason=reason)
