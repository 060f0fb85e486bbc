"""The federation contract, read only, for verifiers, watchers and contributors.

Amounts are wei, digests 32 bytes, times seconds of chain time. Every method raises
:class:`~coordinator.protocol.errors.ChainUnavailableError` if the node does not answer.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Final

from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address

from contracts.binding.artifacts import load_artifact
from contracts.binding.calls import message_tuple
from contracts.binding.events import FederationCreated, FederationEvent, RoundVoided
from contracts.binding.log_reader import FIRST_SPAN_BLOCKS, LogReader
from contracts.binding.logs import FEDERATION_EVENTS
from contracts.binding.records import (
    AccountState,
    BlockInfo,
    HeadState,
    Terms,
)
from contracts.binding.rpc import Rpc
from coordinator.protocol.errors import LedgerError, TransactionRevertedError
from coordinator.protocol.round.chain_round import ChainRound, RoundStatus
from coordinator.protocol.types import Address, RoundId, SigningDomain, UpdateMessage, Wei

ROSTER_PAGE: Final = 256


class ForeignContractError(LedgerError):
    """There is a contract at the address, but it is not a federation."""


class SilentContractError(LedgerError):
    """A call returned no bytes, as it does if there is no contract at the address.

    The node may have several backends, of which the one asked first was a block ahead (ADR 0151).
    """


class FederationReader:
    """A deployed federation, read through one node.

    Raises
    ------
    LedgerError
        If the address is malformed, or there is no contract at it.
    """

    def __init__(self, rpc: Rpc, address: Address) -> None:
        self.rpc = rpc
        try:
            self.address = Address(to_checksum_address(address))
        except (TypeError, ValueError) as error:
            raise LedgerError(
                f"contract {address!r}: expected an address, 0x and 40 hexadecimal digits"
            ) from error
        self._functions = load_artifact("federation").functions
        self._logs = LogReader(rpc, self.address)
        if not rpc.code(self.address):
            raise LedgerError(f"{rpc.where}: there is no contract at {self.address}")

    def _view(self, function: str, *arguments: Any, block: int | str = "latest") -> Any:
        abi = self._functions[function]
        answer = self.rpc.call(self.address, abi.encode_call(arguments), block)
        if not answer and abi.outputs:
            raise SilentContractError(
                f"{self.rpc.where}: {function} of the contract at {self.address} is answered with "
                "nothing, as if there were no contract (yet)"
            )
        try:
            results = abi.decode_result(answer)
        except DecodingError as error:
            raise self._foreign(f"answers {function} with {len(answer)} bytes") from error
        return results[0] if len(results) == 1 else results

    def _foreign(self, detail: str) -> "ForeignContractError":
        return ForeignContractError(
            f"{self.rpc.where}: the contract at {self.address} is no federation: it {detail}"
        )

    @cached_property
    def chain_id(self) -> int:
        """EIP-155 chain id."""
        return self.rpc.quantity("eth_chainId")

    @property
    def domain(self) -> SigningDomain:
        """The EIP-712 domain of contributors' signatures."""
        return SigningDomain(self.chain_id, self.address)

    @cached_property
    def terms(self) -> Terms:
        """The terms of the deployment; raises ``LedgerError`` if it is another contract."""
        try:
            return Terms.from_abi(self._view("terms"))
        except TransactionRevertedError as error:
            raise self._foreign("has no terms") from error

    def block(self, tag: int | str = "latest") -> BlockInfo:
        """Return a block's number, hash, time and base fee; by number or tag."""
        return self.rpc.block(tag)

    def now(self) -> int:
        """Return the time of the latest block."""
        return self.block().timestamp

    def head(self, block: int | str = "latest") -> HeadState:
        """Return the state of the chain of rounds, and of the pool, at a block."""
        *values, referee = self._view("head", block=block)
        return HeadState(*[*values, Address(to_checksum_address(referee))])

    def status(self, round_id: RoundId) -> RoundStatus:
        """Return a round's status; NONE if it never opened."""
        value = self._view("status", round_id)
        try:
            return RoundStatus(value)
        except ValueError as error:
            raise self._foreign(f"gives round {round_id} the status {value}") from error

    def round(self, round_id: RoundId) -> ChainRound:
        """Return the contract's record of a round."""
        values = self._view("record", round_id)
        try:
            return _chain_round(round_id, values, self.terms.challenge_window_s)
        except ValueError as error:
            raise self._foreign(f"gives round {round_id} the status {values[0]}") from error

    def round_at_height(self, height: int) -> RoundId:
        """Return the live round at a height from 1, or 0 if the chain is not that high."""
        return RoundId(self._view("at_height", height) if height <= self.head().height else 0)

    def account(self, address: Address, block: int | str = "latest") -> AccountState:
        """Return an account's bond, unbonding funds, bounties and claimed rewards at a block."""
        return AccountState(*self._view("account", address, block=block))

    def member(self, index: int) -> Address | None:
        """Return the member registered under an index from 1."""
        address = Address(self._view("member", index))
        return address if int(address, 16) else None

    def member_index(self, address: Address) -> int:
        """Return an account's index from 1, 0 if it never joined."""
        return int(self._view("member_index", address))

    def _bonds(self, round_id: int, count: int | None) -> Iterator[tuple[Address, Wei]]:
        """Yield members and their bonds when a round opened, the first ``count`` of them."""
        first = 1
        while count is None or first <= count:
            page = self._view("roster", first, round_id)
            for address, bond in page[: None if count is None else count - first + 1]:
                yield Address(to_checksum_address(address)), Wei(bond)
            if len(page) < ROSTER_PAGE:
                return
            first += ROSTER_PAGE

    def members(self, count: int | None = None) -> list[Address]:
        """Return the first ``count`` members (all by default) in order of joining."""
        return [address for address, _ in self._bonds(0, count)]

    def stakes_at(self, round_id: RoundId) -> dict[Address, Wei]:
        """Return every member's bond when a round opened, without members that have none.

        For a round that has not opened yet, the bonds now.
        """
        return {address: bond for address, bond in self._bonds(round_id, None) if bond > 0}

    def bond_at(self, address: Address, round_id: RoundId) -> Wei:
        """Return an account's bond when a round opened.

        Raises
        ------
        TransactionRevertedError
            If the round has not opened.
        """
        return Wei(self._view("find_bond", address, round_id))

    def checkpoints(self, address: Address) -> list[tuple[RoundId, Wei]]:
        """Return an account's bond history: the first round of each bond, and the bond."""
        count = self._view("checkpoint_count", address)
        return [self._view("checkpoint", address, index) for index in range(count)]

    def is_slashed(self, round_id: RoundId, contributor: Address) -> bool:
        """Return whether a contributor was slashed for equivocating in a round."""
        return bool(self._view("is_slashed", round_id, contributor))

    def void_reason(self, round_id: RoundId) -> str:
        """Return the reason for which a round itself was voided, empty if it was not."""
        reason = ""
        for event in self.events(topics=[_topic_of(RoundVoided), f"0x{round_id:064x}"]):
            assert isinstance(event, RoundVoided)
            reason = event.reason_text
        return reason

    def domain_separator(self) -> bytes:
        """Return the EIP-712 domain separator as the contract computes it."""
        return bytes(self._view("domain_separator"))

    def update_digest(self, message: UpdateMessage) -> bytes:
        """Return the EIP-712 digest of an update as the contract computes it."""
        return bytes(self._view("update_digest", message_tuple(message)))

    def events(
        self,
        from_block: int = 0,
        to_block: int | None = None,
        *,
        topics: Sequence[str] = (),
    ) -> Iterator[FederationEvent]:
        """Yield the federation's events of blocks ``from_block..to_block``, in order.

        ``to_block`` is the head by default. Begins at the block of deployment, if that is later.
        Reads many blocks at a time (:mod:`contracts.binding.log_reader`), and only logs with these
        ``topics``, if any are given.
        """
        last = self.block().number if to_block is None else to_block
        if last - from_block >= FIRST_SPAN_BLOCKS and from_block < self.first_block:
            from_block = self.first_block
        for log in self._logs.read(from_block, last, topics):
            yield FEDERATION_EVENTS.decode_log(log)

    @cached_property
    def first_block(self) -> int:
        """Number of a block before which there are no events: that of the deployment.

        0 if it cannot be determined through this node.
        """
        return self._logs.first_block(self.block().number, _topic_of(FederationCreated))


def _topic_of(kind: type[FederationEvent]) -> str:
    return "0x" + FEDERATION_EVENTS.topic(kind).hex()


def _chain_round(round_id: RoundId, values: tuple[Any, ...], challenge_window_s: int) -> ChainRound:
    """Return the record of a round from the results of the contract's ``record`` view."""
    status, opening, sealing, settlement = values
    settled_at, held_until = settlement[-2:]
    finalizable_at = max(settled_at + challenge_window_s, held_until) if settled_at else None
    stored = [*opening, *sealing, *settlement, finalizable_at]
    return ChainRound(round_id, RoundStatus(status), *stored)
