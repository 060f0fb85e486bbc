"""A federation with a referee on an embedded chain, and rounds committed to it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from chains import bare_chain, embedded_chain
from dispute_rounds import Draft, account, accounts, honest_draft, layout_of, make_rule
from eth_account.signers.local import LocalAccount
from web3 import Web3

from contracts.binding import calls, referee_calls
from contracts.binding.calls import Call
from contracts.binding.federation import Federation
from contracts.binding.records import Terms
from contracts.binding.referee import CaseRecord, Referee
from contracts.binding.referee_events import CaseOpened, Convicted, RefereeEvent
from contracts.binding.transactions import Receipt
from contracts.node.genesis import GenesisConfig
from contracts.node.node import EmbeddedNode
from coordinator.protocol.commitments.digests import rule_hash
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.disputes import DisputedRound, Evidence, Question, answer_to
from coordinator.protocol.errors import TransactionRevertedError
from coordinator.protocol.keccak import keccak256
from coordinator.protocol.types import Address, RewardLeaf, RoundId, Rule, Wei

ETHER = 10**18
DEPOSIT = 10_000
ANSWER_S = 40
WINDOW_S = 200
UNBONDING_S = 2_000
BUDGET = 700
BOND = 1_000_000
BOND_BPS = 5_000
MIN_STAKE = 1_000
ZERO = Address("0x" + "00" * 20)
MINER = Address("0x00000000000000000000000000000000000000C0")

COORDINATOR, WATCHER, STRANGER = account(1), account(2), account(3)
MEMBERS = accounts(5)
BASE = np.array([100, -200, 300, 0, 7], np.int32)
RULE = make_rule()
UPDATES = [
    np.array(row, np.int32)
    for row in ([4, 0, -7, 9, 1], [-8, 3, 0, 2, 1], [6, 6, 6, 0, -1], [1, 2, 3, 4, 5])
]
EXAMPLES = [10, 20, 30, 500]


def terms(base: np.ndarray = BASE, rule: Rule = RULE) -> Terms:
    return Terms(
        coordinator=Address(COORDINATOR.address),
        initial_model_root=parameter_root(base, layout_of(rule)),
        config_digest=bytes([3]) * 32,
        min_stake_wei=Wei(MIN_STAKE),
        min_coordinator_bond_wei=Wei(BOND // 4),
        round_budget_wei=Wei(BUDGET),
        min_contributors=1,
        min_open_s=0,
        challenge_window_s=WINDOW_S,
        unbonding_period_s=UNBONDING_S,
        contributor_slash_bps=5_000,
        coordinator_slash_bps=BOND_BPS,
    )


@dataclass
class DisputeWorld:
    """One node, one federation, one referee."""

    node: EmbeddedNode
    w3: Web3
    federation: Federation
    referee: Referee

    fraud_tag = keccak256(b"fedproof examiner: fraud is proven")

    @classmethod
    def create(
        cls,
        members: Sequence[LocalAccount] = MEMBERS,
        agreed: Terms | None = None,
        *,
        revm: bool = False,
    ) -> "DisputeWorld":
        """``revm`` makes a chain without blocks on another EVM, see ``revm_chain``."""
        people = [COORDINATOR, WATCHER, STRANGER, *members]
        genesis = GenesisConfig(
            alloc={Address(a.address): Wei(100 * ETHER) for a in people}, coinbase=MINER
        )
        node, w3, transactor = bare_chain(genesis) if revm else embedded_chain(genesis)
        federation = Federation.deploy(w3, COORDINATOR, agreed or terms(), transactor=transactor)
        referee = Referee.deploy(
            w3,
            COORDINATOR,
            federation.address,
            deposit_wei=Wei(DEPOSIT),
            answer_s=ANSWER_S,
            transactor=transactor,
        )
        batch = [(m, calls.join(Wei(MIN_STAKE + i))) for i, m in enumerate(members)]
        batch.append((COORDINATOR, calls.bond_coordinator(Wei(BOND))))
        batch.append((STRANGER, calls.fund(Wei(100 * BUDGET))))
        batch.append((COORDINATOR, calls.set_referee(referee.address)))
        federation.send_batch(federation.prepare_all(batch))
        return cls(node, w3, federation, referee)

    def forget(self) -> None:
        self.federation.transactor.forget_nonces()

    # Time and money ----------------------------------------------------------------------

    @property
    def now(self) -> int:
        return self.node.head.timestamp

    def wait_until(self, timestamp: int) -> None:
        """Make the head's time the second before ``timestamp``."""
        if self.now < timestamp - 1:
            self.node.mine(timestamp=timestamp - 1)

    @property
    def held(self) -> int:
        return self.node.get_balance(self.referee.address)

    @property
    def bond(self) -> int:
        return self.federation.account(Address(COORDINATOR.address)).bond_wei

    def bounty(self, who: LocalAccount) -> int:
        return self.federation.account(Address(who.address)).credit_wei

    def deposits(self, who: LocalAccount) -> int:
        return self.referee.credit_wei(Address(who.address))

    def check_books(self, *people: LocalAccount) -> None:
        """The balance is what is locked in cases and what may be collected."""
        owed = sum(self.deposits(who) for who in (COORDINATOR, WATCHER, STRANGER, *people))
        assert self.held == self.referee.locked_wei() + owed

    # Transactions ------------------------------------------------------------------------

    def send(self, who: LocalAccount, call: Call, at: int | None = None) -> Receipt:
        to = self.referee.address if call.contract == "referee" else self.federation.address
        signed = self.federation.transactor.prepare(who, call, to)
        return self.federation.send_batch([signed], timestamp=at)[0]

    def reason(self, who: LocalAccount, call: Call, at: int | None = None) -> str:
        """Send what must revert; check that nothing changed, and return the reason."""
        before = (self.bond, self.held, self.referee.case_count(), self.federation.head())
        try:
            self.send(who, call, at)
        except TransactionRevertedError as reverted:
            after = (self.bond, self.held, self.referee.case_count(), self.federation.head())
            assert after == before
            return reverted.reason
        raise AssertionError(f"{call.label} did not revert")

    def events(self, receipt: Receipt) -> list[RefereeEvent]:
        return list(receipt.events)  # type: ignore[arg-type]

    # Rounds ------------------------------------------------------------------------------

    def draft(
        self,
        updates: Sequence[np.ndarray] = UPDATES,
        examples: Sequence[int] = EXAMPLES,
        *,
        rule: Rule = RULE,
        base: np.ndarray = BASE,
        number: int = 1,
        members: Sequence[LocalAccount] = MEMBERS,
        parent: Draft | None = None,
        new_model: np.ndarray | None = None,
    ) -> Draft:
        """An honest round of the first members; the last of them take no part."""
        names = self.federation.members()
        bonds = dict(self.federation.stakes_at(RoundId(number)))
        below: list[RewardLeaf] = parent.rewards if parent else []
        return honest_draft(
            members[: len(updates)],
            updates,
            examples,
            rule=rule,
            base_model=parent.new_model if parent else base,
            number=number,
            domain=self.federation.domain,
            members=names,
            bonds=bonds,
            budget=BUDGET,
            parent_members=parent.members if parent else (),
            parent_rewards=below,
            new_model=new_model,
        )

    def open(self, draft: Draft) -> None:
        head = self.federation.head()
        call = calls.open_round(
            RoundId(draft.number), head.model_root, rule_hash(draft.rule), self.now + 1_000
        )
        self.send(COORDINATOR, call)

    def seal(self, round_: DisputedRound) -> None:
        committed = round_.committed
        call = calls.seal_round(committed.round_id, committed.seal)
        self.send(COORDINATOR, call)

    def settle(self, round_: DisputedRound) -> None:
        committed = round_.committed
        call = calls.settle_round(committed.round_id, committed.settlement)
        self.send(COORDINATOR, call)

    def commit(self, draft: Draft, *, settled: bool = True) -> DisputedRound:
        """Open, seal and settle a round as drafted."""
        round_ = draft.disputed(settled=settled)
        self.open(draft)
        self.seal(round_)
        if settled:
            self.settle(round_)
        return round_

    # Disputes ----------------------------------------------------------------------------

    def convict(
        self, evidence: Evidence, who: LocalAccount = WATCHER, at: int | None = None
    ) -> str:
        """Send a proof that must hold; return the offence."""
        receipt = self.send(who, referee_calls.convict(evidence), at)
        (convicted,) = [e for e in receipt.events if isinstance(e, Convicted)]
        return convicted.offence_text

    def refused(
        self, evidence: Evidence, who: LocalAccount = WATCHER, at: int | None = None
    ) -> str:
        return self.reason(who, referee_calls.convict(evidence), at)

    def ask(self, question: Question, who: LocalAccount = WATCHER, at: int | None = None) -> int:
        self.send(who, referee_calls.ask(question, Wei(DEPOSIT)), at)
        return self.referee.case_count()

    def case(self, number: int) -> CaseRecord:
        case = self.referee.case(number)
        assert case is not None
        return case

    def block_of(self, number: int) -> int:
        """The block a case was opened in."""
        opened = [e for e in self.referee.events() if isinstance(e, CaseOpened)]
        return next(e.place.block_number for e in opened if e.id == number)

    def convict_by_timeout(self, number: int) -> str:
        """Let an answer become due; return the offence."""
        self.wait_until(self.case(number).due)
        receipt = self.send(STRANGER, referee_calls.timeout(number))
        (convicted,) = [e for e in receipt.events if isinstance(e, Convicted)]
        return convicted.offence_text

    def answer(
        self,
        round_: DisputedRound,
        number: int,
        at: int | None = None,
        who: LocalAccount = COORDINATOR,
    ) -> Receipt:
        """Answer as an honest coordinator of ``round_`` would."""
        reply = answer_to(round_, self.case(number).open_case)
        if isinstance(reply, Evidence):
            return self.send(who, referee_calls.answer(number, reply), at)
        return self.send(who, referee_calls.answer_column(reply), at)


def with_update(round_: DisputedRound, **changes: object) -> DisputedRound:
    """The round with other published parts."""
    return replace(round_, **changes)  # type: ignore[arg-type]
