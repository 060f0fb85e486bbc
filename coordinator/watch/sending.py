"""What a watcher sends: quoted before, told after, and no end of watching where it is refused.

A node refuses, say, whoever cannot pay. That is told once; the next look tries again. Not handled:
what to send (``watcher``), and a node that does not answer.
"""

from collections.abc import Sequence

from eth_account.signers.local import LocalAccount

from contracts.calls import Call
from contracts.federation import Federation
from contracts.referee import Referee
from contracts.transactions import PRIORITY_FEE_WEI, Receipt
from coordinator.core.errors import (
    ChainUnavailableError,
    LedgerError,
    TransactionRevertedError,
)
from coordinator.core.incentives import slash_amount
from coordinator.core.types import Address, RoundId, Wei
from coordinator.watch.errands import Errand
from coordinator.watch.findings import Notice, Price, Tell, ether

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

    def send(self, errands: Sequence[Errand]) -> bool:
        """Quote calls, send them together, tell what became of each; whether any was mined.

        Raises
        ------
        ChainUnavailableError
            If the node does not answer.
        """
        for errand in errands:
            if errand.plan and not self._was_refused(errand):
                price = self._price(errand.call)
                self._tell(Notice("planned", int(errand.round_id), errand.plan, price))
        if self.account is None:
            return False
        bond = self._bond_wei()
        found = self._referee.transact_each(self.account, [errand.call for errand in errands])
        done = [self._told(*pair, bond) for pair in zip(errands, found, strict=True)]
        return any(done)

    def _told(self, errand: Errand, outcome: Receipt | LedgerError, bond: Wei) -> bool:
        """Tell what became of a call; return whether it was mined and succeeded."""
        if isinstance(outcome, TransactionRevertedError):
            text = f"{errand.call.label} was refused: {outcome.reason}"
            self._tell(Notice("gave up", int(errand.round_id), text))
            return False
        if isinstance(outcome, LedgerError):
            self._tell_refused(errand, outcome)
            return False
        self._refused.discard(_name(errand))
        text = errand.text
        if errand.done == "convicted":
            text += f"; the coordinator's bond is {ether(self._bond_wei())}, was {ether(bond)}"
        facts = {
            "transaction": "0x" + outcome.transaction_hash.hex(),
            "block": outcome.block_number,
            "gas_used": outcome.gas_used,
            "fee_wei": str(outcome.fee_wei),
        }
        self._tell(Notice(errand.done, int(errand.round_id), text, facts=facts))
        return True

    def _was_refused(self, errand: Errand) -> bool:
        return _name(errand) in self._refused

    def _tell_refused(self, errand: Errand, refused: LedgerError) -> None:
        """Say once that the node did not take a call; it is tried again at the next look."""
        if self._was_refused(errand):
            return
        self._refused.add(_name(errand))
        text = f"{errand.call.label}: {refused}; balance {ether(self._balance_wei())}"
        self._tell(Notice("not sent", int(errand.round_id), text))

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
                text = f"collect {ether(wei)} of {what}: {refused}"
                self._tell(Notice("not sent", 0, text))
            return False
        self._refused.discard(name)
        balance = self._balance_wei()
        facts = {"what_for": what, "wei": str(wei), "balance_wei": str(balance)}
        text = f"{ether(wei)} of {what}; balance {ether(balance)}"
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


def _name(errand: Errand) -> tuple[RoundId, str]:
    return (errand.round_id, errand.call.label)
