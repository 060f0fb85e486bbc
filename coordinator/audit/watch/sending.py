"""Sends a watcher's transactions: reports their price before and their outcome after.

Each is a :class:`PlannedCall`, a call to the referee with the texts to report. A refusal by the
node, of a sender who cannot pay for example, is reported once and the call is tried again at the
next step. Not handled: choosing what to send (``cases``, ``watcher``), and a node that does not
answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eth_account.signers.local import LocalAccount

from contracts.binding import referee_calls
from contracts.binding.calls import Call
from contracts.binding.federation import Federation
from contracts.binding.referee import CaseRecord, Referee
from contracts.binding.transactions import PRIORITY_FEE_WEI, Receipt, TransactionWaitingError
from coordinator.audit.watch.findings import Notice, NoticeHandler, Price, Verb
from coordinator.audit.watch.steps import DemandEntry, End
from coordinator.protocol.amounts import exact_ether
from coordinator.protocol.disputes.cases import Evidence, Question
from coordinator.protocol.disputes.fault import Fault
from coordinator.protocol.errors import ChainUnavailableError, LedgerError, TransactionRevertedError
from coordinator.protocol.round.incentives import slash_amount
from coordinator.protocol.types import Address, RoundId, Wei


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One call to the referee, with the texts to report.

    Attributes
    ----------
    plan
        Reported with the price before the call is sent; empty if the call is free of risk.
    done, text
        Reported once the call is mined.
    """

    round_id: RoundId
    call: Call
    plan: str
    done: Verb
    text: str


def proving(round_id: RoundId, evidence: Evidence, why: str) -> PlannedCall:
    """Return the call that convicts a round with evidence."""
    plan = f"prove it with {evidence.function} ({why})"
    return PlannedCall(round_id, referee_calls.convict(evidence), plan, "convicted", why)


def asking(
    round_id: RoundId, questions: Sequence[tuple[Fault, Question]], deposit_wei: Wei
) -> list[PlannedCall]:
    """Return the calls that ask the coordinator questions, each about a fault."""
    return [
        PlannedCall(
            round_id,
            referee_calls.ask(question, deposit_wei),
            f"ask with {question.function} ({fault})",
            "asked",
            f"{question.function}: {fault}",
        )
        for fault, question in questions
    ]


def pursuing(case: CaseRecord, step: DemandEntry | End, deposit_wei: Wei) -> PlannedCall:
    """Return the call that continues an open case: demands an entry, or ends the case."""
    match step:
        case DemandEntry(index):
            call = referee_calls.demand_entry(case.case_id, index, deposit_wei)
            text = f"entry {index} of case {case.case_id}"
            return PlannedCall(case.round_id, call, f"demand {text}", "demanded", text)
        case End("timeout"):
            call = referee_calls.timeout(case.case_id)
            text = f"case {case.case_id} was not answered in time"
            return PlannedCall(case.round_id, call, f"call timeout ({text})", "convicted", text)
        case End():
            call = referee_calls.close(case.case_id)
            return PlannedCall(case.round_id, call, "", "closed", f"case {case.case_id} ended")


NOBODY = Address("0x" + "00" * 20)


class Sender:
    """Reports the price of a watcher's calls and sends them; without an account it sends none."""

    def __init__(
        self,
        federation: Federation,
        referee: Referee,
        account: LocalAccount | None,
        on_notice: NoticeHandler,
    ) -> None:
        self._federation, self._referee = federation, referee
        self.account, self._on_notice = account, on_notice
        self._refused: set[tuple[RoundId, str]] = set()
        self._waiting = ""

    def look(self) -> None:
        """Note whether an earlier transaction waits to be mined; none is sent until the next look.

        Call it before reading what was asked and proven: what waits may be what would be sent
        again, with another deposit.

        Raises
        ------
        ChainUnavailableError
            If the node does not answer.
        """
        if self.account is None:
            return
        told, self._waiting = self._waiting, ""
        try:
            self._referee.transactor.idle_nonce(self.address)
        except TransactionWaitingError as waiting:
            self._waiting = str(waiting)
            if self._waiting != told:
                self._on_notice(Notice("not sent", 0, self._waiting))

    @property
    def address(self) -> Address:
        """The account's address, or the zero address without one."""
        return Address(self.account.address) if self.account else NOBODY

    # --- sending -----------------------------------------------------------------------------

    def send(self, planned_calls: Sequence[PlannedCall]) -> bool:
        """Report the price of calls, send them together, and report the outcome of each.

        Returns whether any was mined and succeeded.

        Raises
        ------
        ChainUnavailableError
            If the node does not answer.
        """
        if self._waiting:
            return False
        for planned_call in planned_calls:
            if planned_call.plan and not self._was_refused(planned_call):
                price = self._price(planned_call.call)
                self._on_notice(
                    Notice("planned", int(planned_call.round_id), planned_call.plan, price)
                )
        if self.account is None:
            return False
        bond = self._bond_wei()
        outcomes = self._referee.transact_each(
            self.account, [planned_call.call for planned_call in planned_calls]
        )
        done = [
            self._report_outcome(*pair, bond) for pair in zip(planned_calls, outcomes, strict=True)
        ]
        return any(done)

    def _report_outcome(
        self, planned_call: PlannedCall, outcome: Receipt | LedgerError, bond: Wei
    ) -> bool:
        """Report the outcome of a call; return whether it was mined and succeeded."""
        if isinstance(outcome, TransactionRevertedError):
            text = f"{planned_call.call.label} was refused: {outcome.reason}"
            self._on_notice(Notice("gave up", int(planned_call.round_id), text))
            return False
        if isinstance(outcome, LedgerError):
            self._report_refusal(planned_call, outcome)
            return False
        self._refused.discard(_refusal_key(planned_call))
        text = planned_call.text
        if planned_call.done == "convicted":
            bonds = exact_ether(self._bond_wei()), exact_ether(bond)
            text += f"; the coordinator's bond is {bonds[0]}, was {bonds[1]}"
        facts = {
            "transaction": "0x" + outcome.transaction_hash.hex(),
            "block": outcome.block_number,
            "gas_used": outcome.gas_used,
            "fee_wei": str(outcome.fee_wei),
        }
        self._on_notice(Notice(planned_call.done, int(planned_call.round_id), text, facts=facts))
        return True

    def _was_refused(self, planned_call: PlannedCall) -> bool:
        return _refusal_key(planned_call) in self._refused

    def _report_refusal(self, planned_call: PlannedCall, refused: LedgerError) -> None:
        """Report once that the node did not take a call; it is tried again at the next step."""
        if self._was_refused(planned_call):
            return
        self._refused.add(_refusal_key(planned_call))
        text = f"{planned_call.call.label}: {refused}; balance {exact_ether(self._balance_wei())}"
        self._on_notice(Notice("not sent", int(planned_call.round_id), text))

    # --- taking out --------------------------------------------------------------------------

    def collect(self) -> bool:
        """Withdraw bounties and returned deposits; return whether there were any."""
        assert self.account is not None
        if self._waiting:
            return False
        owed = self._federation.account(self.address).credit_wei
        deposits = self._referee.credit_wei(self.address)
        withdrew = bool(owed) and self._withdraw("bounties", owed, self._federation)
        return (bool(deposits) and self._withdraw("deposits", deposits, self._referee)) or withdrew

    def _withdraw(self, purpose: str, wei: Wei, where: Federation | Referee) -> bool:
        assert self.account is not None
        name = (RoundId(0), purpose)
        try:
            where.collect(self.account)
        except ChainUnavailableError:
            raise
        except LedgerError as refused:
            if name not in self._refused:
                self._refused.add(name)
                text = f"collect {exact_ether(wei)} of {purpose}: {refused}"
                self._on_notice(Notice("not sent", 0, text))
            return False
        self._refused.discard(name)
        balance = self._balance_wei()
        facts = {"what_for": purpose, "wei": str(wei), "balance_wei": str(balance)}
        text = f"{exact_ether(wei)} of {purpose}; balance {exact_ether(balance)}"
        self._on_notice(Notice("collected", 0, text, facts=facts))
        return True

    # --- money -------------------------------------------------------------------------------

    def _price(self, call: Call) -> Price:
        rpc = self._federation.rpc
        request = {
            "from": self.address,
            "to": self._referee.address,
            "value": hex(call.value_wei),
            "data": "0x" + call.data.hex(),
        }
        try:
            gas = rpc.quantity("eth_estimateGas", request)
        except LedgerError:  # no account holds the deposit in a dry run: quote the limit instead
            gas = call.gas_limit
        fee = rpc.block().base_fee_wei + PRIORITY_FEE_WEI
        bps = self._federation.terms.coordinator_slash_bps
        bounty = slash_amount(self._bond_wei(), bps).bounty_wei
        return Price(gas, Wei(gas * fee), call.value_wei, bounty)

    def _balance_wei(self) -> Wei:
        return Wei(self._federation.rpc.quantity("eth_getBalance", self.address, "latest"))

    def _bond_wei(self) -> Wei:
        """Return the coordinator's bond in wei: all that it can still lose."""
        state = self._federation.account(self._federation.terms.coordinator)
        return Wei(state.bond_wei + state.unbonding_wei)


def _refusal_key(planned_call: PlannedCall) -> tuple[RoundId, str]:
    return (planned_call.round_id, planned_call.call.label)
