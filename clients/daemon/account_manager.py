"""Manages the participant's bond and rewards: bonds once if configured, and claims rewards.

A bond that was slashed or withdrawn is never put up again automatically: a daemon would pay again
for every slash, so a person must decide (ADR 96). Not handled: gas prices beyond the transactor's.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_account.signers.local import LocalAccount

from clients.daemon.earnings import earnings
from contracts.binding import calls
from contracts.binding.federation import Federation
from contracts.binding.records import AccountState
from coordinator.local.files import write_durably
from coordinator.local.logs import fields
from coordinator.ports import ArtifactStore
from coordinator.protocol.canonical import canonical_json, parse_json
from coordinator.protocol.errors import LedgerError, StoreError, VerificationError
from coordinator.protocol.types import Address, Wei
from coordinator.settings.participant import ParticipantRewards, ParticipantStake

_log = logging.getLogger(__name__)


class BondMissingError(LedgerError):
    """The account's bond is missing or too small, and may not or cannot be put up automatically."""


@dataclass(frozen=True)
class AccountManager:
    """Bonds and claims for one account.

    ``record`` is a file with the amount that was bonded, so that it is not bonded again after a
    slash.
    """

    federation: Federation
    account: LocalAccount
    stake: ParticipantStake
    rewards: ParticipantRewards
    record: Path

    @property
    def address(self) -> Address:
        """The account's address."""
        return Address(self.account.address)

    def ensure_bond(self) -> Wei:
        """Bond, or increase the bond, if the settings say so and it was not done before.

        Returns the bond in wei.

        Raises
        ------
        BondMissingError
            If the bond is below the contract's minimum and may not or cannot be put up: not
            configured, not enough money, slashed or withdrawn.
        ChainUnavailableError, LedgerError
            If the chain does not answer or refuses.
        """
        # Not increased after a slash or a withdrawal: a daemon would pay for every slash (ADR 96).
        state = self.federation.account(self.address)
        least = self.federation.terms.min_stake_wei
        target = Wei(max(self.stake.bond_wei, least)) if self.stake.join else Wei(0)
        if self._is_due(state, target, least):
            # in this order: what was on its way may have been this very bond
            nonce = self.federation.transactor.idle_nonce(self.address)
            state = self.federation.account(self.address)
            if self._is_due(state, target, least):
                self._bond(Wei(target - state.bond_wei), target, nonce)
                return target
        if state.bond_wei < least:
            raise BondMissingError(self._why_missing(state.bond_wei, state.unbonding_wei, least))
        return state.bond_wei

    def claim_due(self, store: ArtifactStore) -> Wei:
        """Claim rewards if they reach the threshold; return the claimed amount in wei.

        Raises
        ------
        StoreError
            If the rewards document cannot be read, or is not the one on chain.
        ChainUnavailableError, LedgerError
            If the chain does not answer or refuses.
        """
        if not self.rewards.claim_above_wei:
            return Wei(0)
        due = earnings(self.federation, store, self.address)
        if due.owed_wei < self.rewards.claim_above_wei:
            return Wei(0)
        transactor = self.federation.transactor
        nonce = transactor.idle_nonce(self.address)
        call = calls.claim(due.cumulative_wei, due.proof)
        transactor.send_as(self.account, call, self.federation.address, nonce)
        _log.info("claimed", extra=fields(wei=due.owed_wei))
        return due.owed_wei

    def _is_due(self, state: AccountState, target: Wei, least: Wei) -> bool:
        if target <= state.bond_wei:
            return False
        return not state.index or target > self._bonded_before(state.bond_wei, least)

    def _bond(self, missing: Wei, target: Wei, nonce: int) -> None:
        rpc = self.federation.rpc
        balance = rpc.quantity("eth_getBalance", self.address, "latest")
        call = calls.join(missing)
        # The most that the transactor may offer for gas; unused gas is not paid.
        fee = call.gas_limit * (2 * rpc.block().base_fee_wei + 10**9)
        if balance < missing + fee:
            raise BondMissingError(
                f"account {self.address} has {balance} wei, bonding takes {missing} and up to "
                f"{fee} for gas; send it the difference"
            )
        to = self.federation.address
        receipt = self.federation.transactor.send_as(self.account, call, to, nonce)
        self._remember(target)
        _log.info("bonded", extra=fields(wei=missing, block=receipt.block_number))

    def _why_missing(self, bond: Wei, unbonding: Wei, least: Wei) -> str:
        place = f"account {self.address} has a bond of {bond} wei, the contract takes {least}"
        if not self.stake.join:
            return f"{place}; run fedproof join, or set stake.join = true"
        why = f"{unbonding} wei are unbonding" if unbonding else "it was cut or taken out"
        return f"{place} ({why}); it is not put back by itself: run fedproof join to go on"

    def _bonded_before(self, bond: Wei, least: Wei) -> Wei:
        """Return the amount that was bonded before, in wei; only what exceeds it may be bonded.

        Without a record it is the present bond if that is enough; otherwise the bond was slashed or
        withdrawn, and nothing more may be bonded.
        """
        try:
            stored: Any = parse_json(self.record.read_bytes(), str(self.record))
            return Wei(int(stored["bonded_wei"]))
        except FileNotFoundError:
            return bond if bond >= least else Wei(max(self.stake.bond_wei, least))
        except (OSError, VerificationError, KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{self.record}: {error}; remove it to start afresh") from error

    def _remember(self, target: Wei) -> None:
        write_durably(self.record, [canonical_json({"bonded_wei": str(target)})])
