"""Typed binding of the referee contract, which decides disputes.

Challenges and answers are built by ``coordinator.protocol.disputes``; amounts are wei, times
seconds of chain time. :meth:`RefereeReader.refusal` tries a proof by a free call before it is sent.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

from eth_abi.exceptions import DecodingError
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from web3 import Web3

from contracts.binding import referee_calls
from contracts.binding.artifacts import load_artifact
from contracts.binding.calls import Call
from contracts.binding.log_reader import LogReader
from contracts.binding.logs import REFEREE_EVENTS
from contracts.binding.referee_calls import EXAMINERS, evidence_data, examiner_function
from contracts.binding.referee_events import Answered, CaseOpened, RefereeEvent
from contracts.binding.rpc import Rpc, rpc_of
from contracts.binding.transactions import Receipt, SignedCall, Transactor
from coordinator.protocol.disputes.cases import (
    CaseKind,
    ColumnAnswer,
    Evidence,
    OpenCase,
    ProvenEntry,
    Question,
)
from coordinator.protocol.errors import LedgerError, TransactionRevertedError
from coordinator.protocol.types import Address, RoundId, Wei


class CaseState(IntEnum):
    """State of a case; the numbers are the contract's."""

    NONE = 0
    WAITING = 1
    ANSWERED = 2
    CLOSED = 3


@dataclass(frozen=True, slots=True)
class Settings:
    """A referee's constructor arguments and its federation's terms."""

    federation: Address
    aggregate_examiner: Address
    record_examiner: Address
    coordinator: Address
    deposit_wei: Wei
    answer_s: int
    challenge_window_s: int


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """A case as stored by the contract.

    ``due`` is the deadline of an answer (WAITING) or of a refutation (ANSWERED); ``entry`` is the
    index of the demanded entry, ``None`` for none; ``root`` is zero until the column is answered.
    """

    case_id: int
    round_id: RoundId
    kind: CaseKind
    index: int
    chunk: int
    state: CaseState
    due: int
    challenger: Address
    deposit_wei: Wei
    root: bytes
    lo: int
    hi: int
    entry: int | None
    demands: int

    @property
    def open_case(self) -> OpenCase:
        """The question that the coordinator must answer."""
        return OpenCase(self.case_id, self.round_id, self.kind, self.index, self.chunk, self.entry)


def published_entry(answered: Answered) -> tuple[int, ProvenEntry]:
    """Return case and entry of an ``Answered`` event that holds an entry of a column.

    Raises
    ------
    LedgerError
        If it holds another kind of answer.
    """
    abi = examiner_function("answer_entry")
    if answered.evidence[:4] != abi.selector:
        raise LedgerError(f"case {answered.id}: the answer is not an entry of a column")
    case_id, _, entry, path = abi.decode_arguments(answered.evidence)
    return case_id, ProvenEntry(entry, path)


class RefereeReader:
    """A deployed referee, read through one node.

    Raises
    ------
    LedgerError
        If there is no contract at the address.
    """

    def __init__(self, rpc: Rpc, address: Address) -> None:
        self.rpc = rpc
        self.address = Address(to_checksum_address(address))
        self._functions = load_artifact("referee").functions
        self._logs = LogReader(rpc, self.address)
        if not rpc.code(self.address):
            raise LedgerError(f"{rpc.where}: there is no contract at {self.address}")

    def _view(self, function: str, *arguments: Any) -> Any:
        abi = self._functions[function]
        answer = self.rpc.call(self.address, abi.encode_call(arguments))
        try:
            results = abi.decode_result(answer)
        except DecodingError as error:
            raise self._foreign(f"answers {function} with {len(answer)} bytes") from error
        return results[0] if len(results) == 1 else results

    def _foreign(self, detail: str) -> LedgerError:
        return LedgerError(
            f"{self.rpc.where}: the contract at {self.address} is no referee: it {detail}"
        )

    @cached_property
    def settings(self) -> Settings:
        """The settings of the deployment."""
        *addresses, deposit, answer_s, window_s = self._view("settings")
        federation, aggregates, records, coordinator = (
            Address(to_checksum_address(address)) for address in addresses
        )
        return Settings(
            federation, aggregates, records, coordinator, Wei(deposit), answer_s, window_s
        )

    def case(self, case_id: int) -> CaseRecord | None:
        """Return a case, ``None`` if there is none of that number."""
        values = self._view("case_of", case_id)
        (
            round_id,
            kind,
            index,
            chunk,
            state,
            due,
            challenger,
            deposit,
            root,
            lo,
            hi,
            entry,
            count,
        ) = values
        if state == CaseState.NONE:
            return None
        try:
            kind, state = CaseKind(kind), CaseState(state)
        except ValueError as error:
            raise self._foreign(f"gives case {case_id} kind {kind}, state {state}") from error
        return CaseRecord(
            case_id=case_id,
            round_id=RoundId(round_id),
            kind=kind,
            index=index,
            chunk=chunk,
            state=state,
            due=due,
            challenger=Address(to_checksum_address(challenger)),
            deposit_wei=Wei(deposit),
            root=bytes(root),
            lo=lo,
            hi=hi,
            entry=entry - 1 if entry else None,
            demands=count,
        )

    def case_count(self) -> int:
        """Return the number of the last case, 0 before the first."""
        return int(self._view("case_count"))

    def unanswered(self) -> int:
        """Return the number of cases that wait for the coordinator."""
        return int(self._view("unanswered"))

    def locked_wei(self) -> Wei:
        """Return the sum of the deposits of all cases that are not closed."""
        return Wei(self._view("locked"))

    def credit_wei(self, account: Address) -> Wei:
        """Return the sum of the deposits that an account may collect."""
        return Wei(self._view("credit", account))

    def refusal(self, evidence: Evidence, sender: Address | None = None) -> str:
        """Return the reason why evidence does not convict now, empty if it does.

        A call, not a transaction, so it is free. ``sender`` is the caller, zero by default.
        """
        fields = {"from": sender} if sender else {}
        try:
            self.rpc.call(self.address, evidence_data(evidence), **fields)
        except TransactionRevertedError as reverted:
            return reverted.reason or "reverted without a reason"
        return ""

    def events(self, from_block: int = 0, to_block: int | None = None) -> Iterator[RefereeEvent]:
        """Yield the referee's events of blocks ``from_block..to_block`` (the head), in order."""
        last = self.rpc.block().number if to_block is None else to_block
        for log in self._logs.read(from_block, last):
            yield REFEREE_EVENTS.decode_log(log)


class Referee(RefereeReader):
    """A deployed referee: views, and transactions signed with local keys.

    Parameters
    ----------
    w3
        Any connection. Only its provider is used.
    transactor
        Shares nonces with the federation's transactions; a new one by default.
    """

    def __init__(self, w3: Web3, address: Address, *, transactor: Transactor | None = None) -> None:
        self.transactor = transactor or Transactor(rpc_of(w3))
        super().__init__(self.transactor.rpc, address)

    @classmethod
    def deploy(
        cls,
        w3: Web3,
        account: LocalAccount,
        federation: Address,
        *,
        deposit_wei: Wei,
        answer_s: int,
        transactor: Transactor | None = None,
    ) -> "Referee":
        """Deploy examiners and referee; the coordinator must then call ``set_referee``.

        Raises
        ------
        TransactionRevertedError
            If deposit or answer time contradict the federation's terms; ``reason`` names it.
        """
        transactor = transactor or Transactor(rpc_of(w3))

        def created(call: Call) -> Address:
            # A constructor's revert reason is not in its receipt, so it is estimated first.
            request = {"from": account.address, "data": "0x" + call.data.hex()}
            transactor.rpc.request("eth_estimateGas", request)
            receipt = transactor.send(transactor.prepare(account, call, None))
            if receipt.contract_address is None:
                raise LedgerError(f"{call.label}: the receipt names no contract")
            return receipt.contract_address

        calls = [referee_calls.deploy_examiner(name, federation) for name in EXAMINERS]
        examiners = [created(call) for call in calls]
        call = referee_calls.deploy_referee(federation, examiners, deposit_wei, answer_s)
        return cls(w3, created(call), transactor=transactor)

    def prepare(self, account: LocalAccount, call: Call) -> SignedCall:
        """Sign a call without sending it."""
        return self.transactor.prepare(account, call, self.address)

    def transact(self, account: LocalAccount, call: Call) -> Receipt:
        """Sign and send a call, and wait for its receipt."""
        return self.transactor.send(self.prepare(account, call))

    def transact_each(
        self, account: LocalAccount, calls: Sequence[Call]
    ) -> list[Receipt | LedgerError]:
        """Sign and send calls with consecutive nonces; return the receipt or error of each.

        See :meth:`contracts.binding.transactions.Transactor.send_each`.
        """
        signed = self.transactor.prepare_all([(account, call) for call in calls], self.address)
        return self.transactor.send_each(signed)

    def convict(self, account: LocalAccount, evidence: Evidence) -> Receipt:
        """Prove fraud; anyone may."""
        return self.transact(account, referee_calls.convict(evidence))

    def ask(self, account: LocalAccount, question: Question) -> int:
        """Open a case with the deposit and return its number."""
        call = referee_calls.ask(question, self.settings.deposit_wei)
        (opened,) = [e for e in self.transact(account, call).events if isinstance(e, CaseOpened)]
        return opened.id

    def demand_entry(self, account: LocalAccount, case_id: int, index: int) -> Receipt:
        """Demand one entry of an answered column; only the case's challenger may."""
        call = referee_calls.demand_entry(case_id, index, self.settings.deposit_wei)
        return self.transact(account, call)

    def answer(
        self, account: LocalAccount, case_id: int, answer: ColumnAnswer | Evidence
    ) -> Receipt:
        """Answer a case; only the coordinator may answer with a column's root."""
        return self.transact(account, referee_calls.reply(case_id, answer))

    def timeout(self, account: LocalAccount, case_id: int) -> Receipt:
        """Convict over a case that was not answered in time; anyone may."""
        return self.transact(account, referee_calls.timeout(case_id))

    def close(self, account: LocalAccount, case_id: int) -> Receipt:
        """Close a case that can no longer convict; anyone may."""
        return self.transact(account, referee_calls.close(case_id))

    def collect(self, account: LocalAccount) -> Receipt:
        """Withdraw deposits."""
        return self.transact(account, referee_calls.collect())

    def open_cases(self, ids: Sequence[int] | None = None) -> list[CaseRecord]:
        """Return the cases that are not closed, of the given numbers or of all."""
        numbers = range(1, self.case_count() + 1) if ids is None else ids
        cases = [self.case(number) for number in numbers]
        return [case for case in cases if case and case.state is not CaseState.CLOSED]
