"""The daemon's tasks between messages: checks the chain, bonds, claims, copies final models.

Each task fails separately: an unavailable store does not stop training, but a lost block stops
everything. A fault is shown in the status until it is solved, and is logged when it changes.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from clients.daemon.account_manager import AccountManager
from clients.daemon.chain import ChainLink, HistoryGuard
from clients.daemon.history import HistoryLostError
from clients.daemon.model_copies import ModelCopies
from contracts.binding.reader import FederationReader
from coordinator.local.logs import fields
from coordinator.ports import ArtifactStore
from coordinator.protocol.commitments.documents import contributor_entries
from coordinator.protocol.errors import FedproofError
from coordinator.protocol.types import Address, RoundId, Wei

_log = logging.getLogger(__name__)


@dataclass
class Faults:
    """The current faults, by task; empty if there is none."""

    now: dict[str, str] = field(default_factory=dict)

    def wrong(self, task: str, error: Exception) -> None:
        """Note a task's fault, and log it if it is new."""
        text = str(error)
        if self.now.get(task) != text:
            _log.error("%s", text, extra=fields(task=task))
        self.now[task] = text

    def right(self, task: str) -> None:
        """Note that a task succeeded."""
        if self.now.pop(task, None) is not None:
            _log.info("%s is in order again", task)


@dataclass
class PeriodicTasks:
    """One participant's tasks on one connection; :meth:`step` runs those that are due."""

    link: ChainLink
    guard: HistoryGuard
    account_manager: AccountManager
    store: ArtifactStore
    models: ModelCopies
    faults: Faults
    block: int = 0
    bond_wei: Wei = Wei(0)
    final_round: RoundId = RoundId(0)
    open_round: RoundId = RoundId(0)
    _done_at: int = -1

    def step(self) -> bool:
        """Run the tasks that are due; return whether the chain answers and has lost no block.

        All tasks depend on the chain, so none is due if there is no new block since the last time
        that all succeeded.
        """
        if not self._duty("history", self._look):
            self._done_at, self.open_round = -1, RoundId(0)
            return False
        if self.block != self._done_at:
            self._done_at = -1
            block = self.block
            if not self._work():
                return False
            if not self.faults.now:
                self._done_at = block
        return True

    def _work(self) -> bool:
        """Run the tasks that are due; return whether the chain answers."""
        self.open_round = RoundId(0)
        self._duty("bond", self._bond)
        try:
            head = self.link.federation.head()
        except FedproofError as error:
            self.faults.wrong("chain", error)
            return False
        self.faults.right("chain")
        self.open_round = head.open_round
        if head.final_round != self.final_round:
            done = self._duty("rewards", self._claim)
            if self._duty("models", self._copy) and done:
                self.final_round = head.final_round
        return True

    def _look(self) -> None:
        self.block = self.guard.check()

    def _bond(self) -> None:
        self.bond_wei = self.account_manager.ensure_bond()

    def _claim(self) -> None:
        self.account_manager.claim_due(self.store)

    def _copy(self) -> None:
        self.models.refresh(self.link.federation, self.store)

    def _duty(self, name: str, action: Callable[[], None]) -> bool:
        try:
            action()
        except HistoryLostError as error:
            self.faults.wrong(name, error)
            return False
        except FedproofError as error:
            self.faults.wrong(name, error)
            return False
        self.faults.right(name)
        return True


def took_part(
    federation: FederationReader, store: ArtifactStore, round_id: RoundId, address: Address
) -> bool:
    """Return whether a round is sealed with an update of this account in it.

    Raises
    ------
    ChainUnavailableError, StoreError
        If chain or store do not answer.
    """
    state = federation.round(round_id)
    if not state.status.has_result:
        return False
    entries = contributor_entries(store.get_document("contributors", state.contributors_root))
    return any(entry.leaf.contributor == address for entry in entries)
