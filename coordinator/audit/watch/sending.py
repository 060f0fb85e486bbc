"""What a watcher sends: quoted before, told after, and no end of watching where it is refused.

A node refuses, say, whoever cannot pay. That is told once; the next look tries again. Not handled:
what to send (``watcher``), and a node that does not answer.

Decisions become :class:`PlannedCall` values, each a call to the referee with the words to say of
it; what to decide is in ``cases`` and ``watcher``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eth_account.signers.local import LocalAccount

from contracts.binding import referee_calls
from contracts.binding.calls import Call
from contracts.binding.federation import Federation
from contracts.binding.referee import CaseRecord, Referee
from contracts.binding.transactions import PRIORITY_FEE_WEI, Receipt
from coordinator.audit.watch.findings import Notice, Price, Tell, Verb
from coordinator.audit.watch.steps import DemandEntry, End
from coordinator.protocol.amounts import exact_ether
from coordinator.protocol.disputes.cases import Evidence, Question
from coordinator.protocol.disputes.fault import Fault
from coordinator.protocol.errors import ChainUnavailableError, LedgerError, TransactionRevertedError
from coordinator.protocol.round.incentives import slash_amount
from coordinator.protocol.types import Address, RoundId, Wei


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One call to the referee: what it is for, and what to say of it once it is done.

    Attributes
    ----------
    plan
        Said with its price before it is sent; empty where there is nothing to weigh.
    done, text
        Said once it is mined.
    """

    round_id: RoundId
    call: Call
    plan: str
    done: Verb
    text: str


def proving(round_id: RoundId, evidence: Evidence, why: str) -> PlannedCall:
    """Convict a round with evidence."""
    plan = f"prove it with {evidence.function} ({why})"
    return PlannedCall(round_id, referee_calls.convict(evidence), plan, "convicted", why)


def asking(
    round_id: RoundId, questions: Sequence[tuple[Fault, Question]], deposit_wei: Wei
) -> list[PlannedCall]:
    """Ask the coordinator questions over the faults that they are about."""
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
    """Go on with an open case: demand an entry, or end it."""
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
    """Quotes and sends a watcher's calls; without an account it only quotes."""

    def __init__(
        self, federation: Federation, referee: Referee, account: LocalAccount | None, tell: Tell
    ) -> None:
        self._federation, self._referee = federation, referee
        self.account, self._tell = account, tell
        self._refused: set[tuple[RoundId, str]] = set()

    @property
    def address(self) -> Address:
        """The account's, or nobody's."""
        return Address(self.account.address) if self.account else NOBODY

    # --- sending -----------------------------------------------------------------------------

    def send(self, planned_calls: Sequence[PlannedCall]) -> bool:
        """Quote calls, send them together, tell what became of each; whether any was mined.

        Raises
        ------
        ChainUnavailableError
            If the node does not answer.
        """
        for planned_call in planned_calls:
            if planned_call.plan and not self._was_refused(planned_call):
                price = self._price(planned_call.call)
                self._tell(Notice("planned", int(planned_call.round_id), planned_call.plan, price))
        if self.account is None:
            return False
        bond = self._bond_wei()
        found = self._referee.transact_each(
            self.account, [planned_call.call for planned_call in planned_calls]
        )
        done = [self._told(*pair, bond) for pair in zip(planned_calls, found, strict=True)]
        return any(done)

    def _told(self, planned_call: PlannedCall, outcome: Receipt | LedgerError, bond: Wei) -> bool:
        """Tell what became of a call; return whether it was mined and succeeded."""
        if isinstance(outcome, TransactionRevertedError):
            text = f"{planned_call.call.label} was refused: {outcome.reason}"
            self._tell(Notice("gave up", int(planned_call.round_id), text))
            return False
        if isinstance(outcome, LedgerError):
            self._tell_refused(planned_call, outcome)
            return False
        self._refused.discard(_name(planned_call))
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
        self._tell(Notice(planned_call.done, int(planned_call.round_id), text, facts=facts))
        return True

    def _was_refused(self, planned_call: PlannedCall) -> bool:
        return _name(planned_call) in self._refused

    def _tell_refused(self, planned_call: PlannedCall, refused: LedgerError) -> None:
        """Say once that the node did not take a call; it is tried again at the next look."""
        if self._was_refused(planned_call):
            return
        self._refused.add(_name(planned_call))
        text = f"{planned_call.call.label}: {refused}; balance {exact_ether(self._balance_wei())}"
        self._tell(Notice("not sent", int(planned_call.round_id), text))

    # --- taking out --------------------------------------------------------------------------

    def collect(self) -> bool:
        """Take out bounties and deposits that are owed; return whether there were any."""
        assert self.account is not None
        owed = self._federation.account(self.address).credit_wei
        deposits = self._referee.credit_wei(self.address)
        took = bool(owed) and self._took("bounties", owed, self._federation)
        return (bool(deposits) and self._took("deposits", deposits, self._referee)) or took

    def _took(self, what: str, wei: Wei, where: Federation | Referee) -> bool:
        assert self.account is not None
        name = (RoundId(0), what)
        try:
            where.collect(self.account)
        except ChainUnavailableError:
            raise
        except LedgerError as refused:
            if name not in self._refused:
                self._refused.add(name)
                text = f"collect {exact_ether(wei)} of {what}: {refused}"
                self._tell(Notice("not sent", 0, text))
            return False
        self._refused.discard(name)
        balance = self._balance_wei()
        facts = {"what_for": what, "wei": str(wei), "balance_wei": str(balance)}
        text = f"{exact_ether(wei)} of {what}; balance {exact_ether(balance)}"
        self._tell(Notice("collected", 0, text, facts=facts))
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
        except LedgerError:  # nobody has the deposit in a dry run, say: then it is at most this
            gas = call.gas_limit
        fee = rpc.block().base_fee_wei + PRIORITY_FEE_WEI
        bps = self._federation.terms.coordinator_slash_bps
        bounty = slash_amount(self._bond_wei(), bps).bounty_wei
        return Price(gas, Wei(gas * fee), call.value_wei, bounty)

    def _balance_wei(self) -> Wei:
        return Wei(self._federation.rpc.quantity("eth_getBalance", self.address, "latest"))

    def _bond_wei(self) -> Wei:
        """Return all that the coordinator can still lose."""
        state = self._federation.account(self._federation.terms.coordinator)
        return Wei(state.bond_wei + state.unbonding_wei)


def _name(planned_call: PlannedCall) -> tuple[RoundId, str]:
    return (planned_call.round_id, planned_call.call.label)
