"""Follows a federation: replays every sealed round and, where it is wrong, convicts.

One :meth:`Watcher.step` looks at everything once and does what can be done now. All it knows it
reads from chain and store, so it can be killed at any instant and started again; and several
watchers may work at once, for the contract convicts a round only once. Not handled: waiting
between two looks, and keys.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from eth_account.signers.local import LocalAccount

from contracts import referee_calls
from contracts.calls import Call
from contracts.federation import Federation
from contracts.records import RoundState, RoundStatus
from contracts.referee import CaseRecord, Referee
from contracts.transactions import PRIORITY_FEE_WEI, Receipt
from coordinator.core.disputes import (
    DisputedRound,
    Evidence,
    Fault,
    FaultKind,
    Question,
    find_faults,
    moves_against,
)
from coordinator.core.disputes.fault import EXAMPLES_SCORING
from coordinator.core.errors import LedgerError, TransactionRevertedError
from coordinator.core.incentives import slash_amount
from coordinator.core.types import Address, RoundId, Wei
from coordinator.ports import ArtifactStore
from coordinator.watch.cases import CaseBook, DemandEntry, End, Prove, Wait, next_step
from coordinator.watch.clock import next_time
from coordinator.watch.findings import Notice, Price, Tell, Verb, ether
from coordinator.watch.published import PublishedData
from coordinator.watch.rounds import RoundReader
from coordinator.watch.unprovable import norms_above_bound

_SEALED = (RoundStatus.SEALED, RoundStatus.SETTLED)
_NOBODY = Address("0x" + "00" * 20)


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """How to watch.

    Attributes
    ----------
    lag_rounds
        Look at a round only when so many newer ones stand on it.
    interactive
        Ask for a column even where one transaction would prove the aggregate wrong.
    chunks
        How many chunks of one withheld vector to demand, one after another, before giving up.
        When all of them were shown the round is judged as if they had been in the store.
    """

    lag_rounds: int = 0
    interactive: bool = False
    chunks: int = 8


class Watcher:
    """Watches one federation.

    Parameters
    ----------
    federation, referee
        Bindings that share one transactor.
    store
        Where the rounds' artifacts are published.
    account
        Signs and pays; ``None`` only reports.
    tell
        Hears what is found, what it would cost and earn, and what is done, in this order.
    """

    def __init__(
        self,
        federation: Federation,
        referee: Referee,
        store: ArtifactStore,
        account: LocalAccount | None,
        tell: Tell,
        options: WatchOptions | None = None,
    ) -> None:
        self._federation, self._referee, self._account = federation, referee, account
        self._tell, self._options = tell, options or WatchOptions()
        self._published = PublishedData(federation, referee)
        self._rounds = RoundReader(federation, store, self._published)
        self._sender = Address(account.address) if account else _NOBODY
        self._book = CaseBook(referee, self._sender)
        self._told: set[tuple[RoundId, RoundStatus]] = set()
        self._refused: set[int] = set()
        self._rules: set[bytes] = set()
        self.standing: dict[RoundId, list[Fault]] = {}
        """Provable faults of live rounds that nobody has been convicted for."""

    def step(self) -> bool:
        """Look at every round and case once; return whether anything was sent."""
        self._book.refresh()
        self._published.refresh()
        sent = False
        if self._account is not None:
            for case in self._book.open():
                sent |= self._pursue(case)
        for state in self._to_examine():
            sent |= self._examine(state)
        if self._account is not None and not self._book.open():
            sent |= self._collect()
        return sent

    def look_at_all(self) -> None:
        """Look at the newest rounds from now on, however few stand on them."""
        self._options = replace(self._options, lag_rounds=0)

    def next_deadline(self) -> int | None:
        """Return when the first question this watcher waits for is due, in chain time."""
        self._book.refresh()
        cases = [case for case in self._book.open() if case.case_id not in self._refused]
        return min((case.due for case in cases), default=None)

    def challenge(self, round_id: RoundId, faults: Sequence[Fault]) -> bool:
        """Challenge a round over given faults, as :meth:`step` does over those it finds."""
        return self._act(self._federation.round(round_id), self._rounds.read(round_id), faults)

    # --- looking -----------------------------------------------------------------------------

    def _to_examine(self) -> Iterator[RoundState]:
        """Yield the live rounds that are not final, lowest first."""
        head = self._federation.head()
        found = []
        cursor = head.head_round
        while cursor != head.final_round and cursor:
            found.append(self._federation.round(cursor))
            cursor = found[-1].parent
        live = {state.round_id for state in found}
        self.standing = {k: faults for k, faults in self.standing.items() if k in live}
        for state in reversed(found):
            if state.height <= head.height - self._options.lag_rounds:
                yield state

    def _examine(self, state: RoundState) -> bool:
        key = (state.round_id, state.status)
        if key in self._told and (self._account is None or not self.standing.get(state.round_id)):
            return False
        if self._federation.status(state.round_id) not in _SEALED:
            return False  # voided by what was just proven below it
        round_ = self._rounds.read(state.round_id)
        faults = find_faults(round_)
        # What was withheld may have been shown since, and something else be wrong with it.
        if key not in self._told or faults != self.standing.get(state.round_id):
            self._told.add(key)
            self._admit_limits(round_)
            self._report(state, faults)
            for text in norms_above_bound(round_):
                self._say("unprovable", state.round_id, text)
        self.standing[state.round_id] = faults
        return self._act(state, round_, faults)

    def _admit_limits(self, round_: DisputedRound) -> None:
        """Say, once for each rule, what of it no contract can judge and this watcher does not."""
        rule, rule_hash = round_.rule, round_.committed.rule_hash
        if rule is None or rule_hash in self._rules:
            return
        self._rules.add(rule_hash)
        limits = [
            (rule.server_momentum_q16, "aggregates under server momentum"),
            (rule.scoring_hash != EXAMPLES_SCORING, "scores by another rule than examples"),
        ]
        for applies, what in limits:
            if applies:
                text = f"{what} cannot be proven on chain; fedproof verify re-executes them"
                self._say("unprovable", round_.committed.round_id, text)

    def _report(self, state: RoundState, faults: Sequence[Fault]) -> None:
        status, n = state.status.name.lower(), state.n
        if not faults:
            self._say("examined", state.round_id, f"{status}, {n} contributors: nothing wrong")
        for fault in faults:
            facts = {"fault": fault.kind.value, "place": fault.place}
            self._tell(Notice("found", int(state.round_id), str(fault), facts=facts))

    # --- acting ------------------------------------------------------------------------------

    def _act(self, state: RoundState, round_: DisputedRound, faults: Sequence[Fault]) -> bool:
        """Convict over the first fault that one transaction proves, else ask one question."""
        if not faults or self._is_over(state):
            return False
        options = [(fault, move) for fault in faults for move in moves_against(round_, fault)]
        if not (self._options.interactive and any(isinstance(m, Question) for _, m in options)):
            for fault, move in options:
                if isinstance(move, Evidence) and not self._referee.refusal(move, self._sender):
                    return self._convict(state.round_id, move, str(fault))
        if any(case.round_id == state.round_id for case in self._book.open()):
            return False  # one question at a time
        for fault, move in self._questions(round_, options):
            return self._ask(state.round_id, move, str(fault))
        if (state.round_id, RoundStatus.FINAL) not in self._told:
            self._told.add((state.round_id, RoundStatus.FINAL))
            self._say("gave up", state.round_id, "nothing is left to ask; see fedproof verify")
        return False

    def _is_over(self, state: RoundState) -> bool:
        """Whether the window has passed: then the round stands, whatever is wrong with it."""
        over = (
            state.finalizable_at is not None
            and next_time(self._federation.rpc) >= state.finalizable_at
        )
        if over and (state.round_id, RoundStatus.FINAL) not in self._told:
            self._told.add((state.round_id, RoundStatus.FINAL))
            self._say("gave up", state.round_id, "its challenge window has passed")
        return over

    def _questions(
        self, round_: DisputedRound, options: Sequence[tuple[Fault, Evidence | Question]]
    ) -> Iterator[tuple[Fault, Question]]:
        """Yield questions not asked yet; of a withheld vector one chunk after another."""
        asked = self._book.asked()
        for fault, move in options:
            if not isinstance(move, Question):
                continue
            for other in self._variants(round_, fault, move):
                shown = self._published.has_shown(round_, other)
                if key_of(other) not in asked and not shown:
                    yield fault, other

    def _variants(self, round_: DisputedRound, fault: Fault, move: Question) -> Iterator[Question]:
        yield move
        if move.function == "demand_chunk":
            *fixed, _ = move.arguments
            for chunk in range(min(self._options.chunks, round_.layout.chunk_count)):
                yield replace(move, arguments=(*fixed, chunk))
        elif fault.kind is FaultKind.CONTRIBUTOR_WITHHELD:
            *fixed, _ = move.arguments
            for index in range(min(self._options.chunks, round_.committed.n)):
                yield replace(move, arguments=(*fixed, index))

    def _convict(self, round_id: RoundId, evidence: Evidence, why: str) -> bool:
        call = referee_calls.convict(evidence)
        self._quote(round_id, call, f"prove it with {evidence.function} ({why})")
        return self._send(round_id, call, "convicted", why) is not None

    def _ask(self, round_id: RoundId, question: Question, why: str) -> bool:
        call = referee_calls.ask(question, self._referee.settings.deposit_wei)
        self._quote(round_id, call, f"ask with {question.function} ({why})")
        return self._send(round_id, call, "asked", f"{question.function}: {why}") is not None

    def _pursue(self, case: CaseRecord) -> bool:
        """Do the next thing about an open case."""
        status = self._federation.status(case.round_id)
        round_ = self._rounds.read(case.round_id)
        known = self._book.entries(case.case_id)
        now = next_time(self._federation.rpc)
        match next_step(case, status, round_, known, now):
            case Wait():
                return False
            case DemandEntry(index):
                deposit = self._referee.settings.deposit_wei
                call = referee_calls.demand_entry(case.case_id, index, deposit)
                text = f"entry {index} of case {case.case_id}"
                self._quote(case.round_id, call, f"demand {text}")
                return self._send(case.round_id, call, "demanded", text) is not None
            case End("timeout"):
                call = referee_calls.timeout(case.case_id)
                text = f"case {case.case_id} was not answered in time"
                self._quote(case.round_id, call, f"call timeout ({text})")
                return self._send(case.round_id, call, "convicted", text) is not None
            case End():
                call = referee_calls.close(case.case_id)
                text = f"case {case.case_id} ended"
                return self._send(case.round_id, call, "closed", text) is not None
            case Prove(evidence):
                return self._refute(case, evidence)

    def _refute(self, case: CaseRecord, evidence: Evidence) -> bool:
        reason = self._referee.refusal(evidence, self._sender)
        if not reason:
            text = f"the column answered in case {case.case_id} is wrong"
            return self._convict(case.round_id, evidence, text)
        if case.case_id not in self._refused:
            self._refused.add(case.case_id)
            text = f"case {case.case_id}: {evidence.function} would fail: {reason}"
            self._say("gave up", case.round_id, text)
        return False

    def _collect(self) -> bool:
        """Take out bounties and deposits that are owed."""
        bounty = self._federation.account(self._sender).credit_wei
        deposits = self._referee.credit_wei(self._sender)
        assert self._account is not None
        if bounty:
            self._federation.collect(self._account)
            self._collected("bounties", bounty)
        if deposits:
            self._referee.collect(self._account)
            self._collected("deposits", deposits)
        return bool(bounty or deposits)

    def _collected(self, what: str, wei: Wei) -> None:
        facts = {"what_for": what, "wei": str(wei)}
        balance = self._federation.rpc.quantity("eth_getBalance", self._sender, "latest")
        text = f"{ether(wei)} of {what}; balance {ether(balance)}"
        facts["balance_wei"] = str(balance)
        self._tell(Notice("collected", 0, text, facts=facts))

    # --- money -------------------------------------------------------------------------------

    def _quote(self, round_id: RoundId, call: Call, text: str) -> None:
        """Say what a call will cost and earn, before it is sent."""
        self._tell(Notice("planned", int(round_id), text, self._price(call)))

    def _price(self, call: Call) -> Price:
        rpc = self._federation.rpc
        request = {
            "from": self._sender,
            "to": self._referee.address,
            "value": hex(call.value_wei),
            "data": "0x" + call.data.hex(),
        }
        try:
            gas = rpc.quantity("eth_estimateGas", request)
        except LedgerError:  # nobody has the deposit in a dry run, say: then it is at most this
            gas = call.gas_limit
        fee = rpc.block().base_fee_wei + PRIORITY_FEE_WEI
        bps = self._federation.terms.coordinator_slash_bps
        bounty = slash_amount(self._bond_wei(), bps).bounty_wei
        return Price(gas, Wei(gas * fee), call.value_wei, bounty)

    def _send(self, round_id: RoundId, call: Call, done: Verb, text: str) -> Receipt | None:
        """Send a call; ``None`` if this watcher only reports, or somebody else was first."""
        if self._account is None:
            return None
        bond = self._bond_wei()
        try:
            receipt = self._referee.transact(self._account, call)
        except TransactionRevertedError as refused:
            self._say("gave up", round_id, f"{call.label} was refused: {refused.reason}")
            return None
        if done == "convicted":
            text += f"; the coordinator's bond is {ether(self._bond_wei())}, was {ether(bond)}"
        facts = {
            "transaction": "0x" + receipt.transaction_hash.hex(),
            "block": receipt.block_number,
            "gas_used": receipt.gas_used,
            "fee_wei": str(receipt.fee_wei),
        }
        self._tell(Notice(done, int(round_id), text, facts=facts))
        return receipt

    def _bond_wei(self) -> Wei:
        """Return all that the coordinator can still lose."""
        state = self._federation.account(self._federation.terms.coordinator)
        return Wei(state.bond_wei + state.unbonding_wei)

    def _say(self, verb: Verb, round_id: RoundId, text: str) -> None:
        self._tell(Notice(verb, int(round_id), text))


def key_of(question: Question) -> tuple[int, int, int, int]:
    """Return round, kind, index and chunk of a question, as the referee's events name them."""
    round_id, *rest = question.arguments
    match question.function:
        case "challenge_column":
            return (round_id, 1, rest[1], 0)
        case "challenge_totals":
            return (round_id, 2, 0, 0)
        case "challenge_payments":
            return (round_id, 3, 0, 0)
        case "demand_record":
            return (round_id, rest[0], rest[1], 0)
    return (round_id, rest[1], rest[2], rest[3])
