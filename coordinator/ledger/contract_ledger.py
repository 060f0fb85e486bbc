"""The ledger port over the federation contract, on any chain the binding can reach."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from eth_account.signers.local import LocalAccount

from contracts.binding.events import FederationEvent, Joined, Left, RoundOpened, Slashed
from contracts.binding.federation import Federation
from contracts.binding.log_reader import LATE_BLOCKS
from contracts.binding.records import BlockInfo
from coordinator.ports import ChainHead
from coordinator.protocol.round.chain_round import (
    VOID_REASON_BYTES,
    ChainRound,
    RoundStatus,
    Seal,
    Settlement,
)
from coordinator.protocol.signatures.eip712 import sign_statement
from coordinator.protocol.types import (
    Address,
    RoundId,
    RoundInstruction,
    Signed,
    SigningDomain,
    UpdateMessage,
    Wei,
)


class _Roster:
    """Members and bonds after some block, and at every round opened up to it."""

    def __init__(self) -> None:
        self.members: list[Address] = []
        self.bonds: dict[Address, Wei] = {}
        self.at_round: dict[int, Mapping[Address, Wei]] = {}
        self._current: Mapping[Address, Wei] = MappingProxyType({})
        self._changed = False

    def copy(self) -> "_Roster":
        """Return one that can be changed by itself."""
        made = _Roster()
        made.members, made.bonds = list(self.members), dict(self.bonds)
        made.at_round = dict(self.at_round)
        made._current, made._changed = self._current, self._changed
        return made

    def apply(self, event: FederationEvent) -> None:
        """Follow one event; they come in the chain's order."""
        match event:
            case Joined():
                if event.account not in self.bonds:
                    self.members.append(event.account)
                self.bonds[event.account] = event.bond
                self._changed = True
            case Left():
                self._cut(event.account, Wei(0))
            case Slashed():
                self._cut(event.account, event.bond)
            case RoundOpened():
                self.at_round[int(event.round)] = self.snapshot()
            case _:
                pass

    def _cut(self, account: Address, bond: Wei) -> None:
        # The coordinator leaves and is slashed too, but it never joined: it is no member.
        if account in self.bonds:
            self.bonds[account] = bond
            self._changed = True

    def snapshot(self) -> Mapping[Address, Wei]:
        """Return the bonds now; rounds between which nothing changed share one mapping."""
        if self._changed:
            bonded = {account: bond for account, bond in self.bonds.items() if bond > 0}
            self._current, self._changed = MappingProxyType(bonded), False
        return self._current


class Membership:
    """Members and their bonds at every round, read from one federation's events.

    The contract can say the same by a call, but it would walk its storage anew for every round:
    with a thousand members that costs seconds. Events are read once, from where the last reading
    stopped; a test compares both. Of a node that is not in this process the newest 64 blocks are
    read again whenever one has come: logs may come later than their block, and a block may be
    replaced by another (ADR 0152). Not handled: blocks that are replaced deeper down.
    """

    def __init__(self, federation: Federation) -> None:
        self._federation = federation
        self._late_blocks = 0 if federation.rpc.embedded_node is not None else LATE_BLOCKS
        self._settled = _Roster()
        self._newest = self._settled
        self._next_block = 0
        self._head: BlockInfo | None = None

    def members(self, count: int) -> list[Address]:
        """Return the first ``count`` members in order of joining."""
        if len(self._settled.members) < count:
            self._read()
        return self._newest.members[:count]

    def stakes_at(self, round_id: int) -> Mapping[Address, Wei]:
        """Return the bonds above zero when a round opened; for one that has not opened: now."""
        if round_id not in self._settled.at_round:
            self._read()
        at_round = self._newest.at_round
        return at_round[round_id] if round_id in at_round else self._newest.snapshot()

    def _read(self) -> None:
        """Follow what settled; what may change yet is put on top of a copy each time."""
        head = self._federation.block()
        if self._head is not None and (
            head.hash == self._head.hash or head.number < self._head.number
        ):
            return  # nothing has come, or this backend is behind
        settled = head.number - self._late_blocks
        events = list(self._federation.events(self._next_block, head.number))
        late = [event for event in events if event.place.block_number > settled]
        for event in events[: len(events) - len(late)]:
            self._settled.apply(event)
        self._next_block, self._head = max(self._next_block, settled + 1), head
        self._newest = self._settled.copy() if self._late_blocks else self._settled
        for event in late:
            self._newest.apply(event)


class ChainLedger:
    """A :class:`~coordinator.ports.Ledger`: reads from the contract, signs as the coordinator.

    Parameters
    ----------
    federation
        The deployed contract.
    coordinator
        The account that signs; ``None`` for an auditor, who only reads.
    next_time
        Chain time of a transaction sent now; the head's time plus a second by default.
    """

    def __init__(
        self,
        federation: Federation,
        coordinator: LocalAccount | None = None,
        *,
        next_time: Callable[[], int] | None = None,
    ) -> None:
        self._federation = federation
        self._coordinator = coordinator
        self._next_time = next_time
        self._membership = Membership(federation)

    # --- reading -------------------------------------------------------------------------

    def domain(self) -> SigningDomain:
        """Return the EIP-712 domain of the contract."""
        return self._federation.domain

    def now(self) -> int:
        """Return the chain time a transaction sent now would see."""
        return self._next_time() if self._next_time else self._federation.now() + 1

    def head(self) -> ChainHead:
        """Return where the live chain of rounds stands."""
        head = self._federation.head()
        return ChainHead(
            last_opened=head.last_opened,
            last_sealed=head.head_round,
            last_settled=self._last_settled(head.head_round, head.final_round),
            last_final=head.final_round,
            model_root=head.model_root,
        )

    def _last_settled(self, sealed: RoundId, final: RoundId) -> RoundId:
        """Walk down from the last sealed round: rounds are settled in order of height."""
        cursor = sealed
        while cursor > final:
            state = self._federation.round(cursor)
            if state.status is RoundStatus.SETTLED:
                return cursor
            cursor = state.parent
        return final

    def round(self, round_id: RoundId) -> ChainRound:
        """Return one round as the contract stores it."""
        return self._federation.round(round_id)

    def round_at_height(self, height: int) -> RoundId:
        """Return the live round at a height, or 0."""
        return self._federation.round_at_height(height)

    def members(self, count: int) -> Sequence[Address]:
        """Return the first ``count`` members, in order of joining."""
        return self._membership.members(count)

    def stakes_at(self, round_id: RoundId) -> Mapping[Address, Wei]:
        """Return the bonds of all members when a round opened."""
        return self._membership.stakes_at(round_id)

    def seal_seed(self, round_id: RoundId) -> bytes:
        """Return the hash of the block that sealed a round."""
        seal_block = self._federation.round(round_id).seal_block
        return self._federation.transactor.rpc.block(seal_block).hash

    def void_reason(self, round_id: RoundId) -> str:
        """Return why a round is void; for one that stood on a void round, that one's reason."""
        own = self._federation.void_reason(round_id)
        if own:
            return own
        parent = self._federation.round(round_id).parent
        return f"stands on round {parent}: {self.void_reason(parent)}" if parent else ""

    def is_equivocation_slashed(self, round_id: RoundId, contributor: Address) -> bool:
        """Return whether a contributor was slashed for equivocating in a round."""
        return self._federation.is_slashed(round_id, contributor)

    # --- writing: returns once the block is durable -----------------------------------------

    def open_round(
        self, round_id: RoundId, model_root: bytes, rule_hash: bytes, deadline: int
    ) -> None:
        """Open a round."""
        self._federation.open_round(self._signer, round_id, model_root, rule_hash, deadline)

    def commit_updates(self, round_id: RoundId, *, commitments_root: bytes, count: int) -> None:
        """Fix the commitments of an open round."""
        self._federation.commit_updates(self._signer, round_id, commitments_root, count)

    def seal_round(self, round_id: RoundId, seal: Seal) -> None:
        """Commit a round's contributors and result."""
        self._federation.seal_round(self._signer, round_id, seal)

    def settle_round(self, round_id: RoundId, settlement: Settlement) -> None:
        """Commit a round's scores and cumulative rewards."""
        self._federation.settle_round(self._signer, round_id, settlement)

    def finalize_round(self, round_id: RoundId) -> None:
        """Make a round final."""
        self._federation.finalize_round(self._signer, round_id)

    def void_round(self, round_id: RoundId, reason: str) -> None:
        """Give up an open round; past its deadline anyone's ``expire_round`` does."""
        state = self._federation.round(round_id)
        if self.now() >= state.deadline:
            self._federation.expire_round(self._signer, round_id)
        else:
            self._federation.void_round(self._signer, round_id, chain_reason(reason))

    def slash_equivocation(
        self, first: Signed[UpdateMessage], second: Signed[UpdateMessage]
    ) -> Wei:
        """Bring two signatures to the contract; return the wei taken."""
        receipt = self._federation.slash_equivocation(self._signer, first, second)
        return Wei(sum(event.amount for event in receipt.events if isinstance(event, Slashed)))

    # --- signing --------------------------------------------------------------------------------

    def sign_instruction(self, statement: RoundInstruction) -> Signed[RoundInstruction]:
        """Sign an instruction with the coordinator's key."""
        return sign_statement(self.domain(), statement, bytes(self._signer.key))

    @property
    def _signer(self) -> LocalAccount:
        if self._coordinator is None:
            raise PermissionError("this ledger was opened for reading: it has no account")
        return self._coordinator


def chain_reason(reason: str) -> str:
    """Return the word for a void round that fits the contract's 32 bytes of ASCII.

    The whole reason is in the coordinator's journal; on chain its beginning has to do.
    """
    printable = reason.encode("ascii", "replace").decode()
    return printable[:VOID_REASON_BYTES] or "unspecified"
