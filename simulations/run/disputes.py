"""Disputes in a running simulation: the watcher's and the coordinator's turns, and chain time.

The watcher of this process checks after every round, the coordinator answers, and if both wait for
a deadline, chain time is advanced to it. With a watcher in another process, the simulation pauses
after each round instead, and advances chain time only for questions that nobody acts on (ADR 84).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from contracts.binding.referee import CaseRecord, CaseState
from coordinator.audit.responder import Reply, Responder, honest_reply
from coordinator.audit.watch.findings import Notice, NoticeHandler
from coordinator.audit.watch.rounds import RoundReader
from coordinator.audit.watch.watcher import Watcher, WatchOptions
from coordinator.ports import ArtifactStore
from coordinator.protocol.amounts import ether
from coordinator.protocol.disputes import ColumnAnswer, DisputedRound, Evidence
from coordinator.protocol.types import Address, Wei
from coordinator.settings.terms import Stake
from simulations.attacks.coordinator import Answer
from simulations.attacks.coordinator.attacker import Attacker, authors_code
from simulations.experiment.federation import Watcher as WatcherSection
from simulations.run.chain import SimulatedChain

_POLL_S = 0.05


@dataclass(frozen=True)
class DishonestReply:
    """Answers as the attack of a round does, and honestly in other rounds."""

    attacker: Attacker

    def __call__(self, round_: DisputedRound, case: CaseRecord) -> Reply | None:
        """Return the answer, ``None`` for none."""
        attack = self.attacker.attack(case.round_id)
        answer: Answer = "right"
        if attack is not None:
            with authors_code(attack, "answer"):
                answer = attack.answer(round_, case.kind, case.index)
        if answer == "right":
            return honest_reply(round_, case)
        if answer == "none":
            return None
        if case.entry is None:
            return ColumnAnswer(case.case_id, answer.root, answer.lo, answer.hi)
        entry, path = answer.entries[case.entry], answer.path(case.entry)
        return Evidence("answer_entry", (case.case_id, int(case.kind), entry, path))


def say_notices(say: Callable[[str], None]) -> NoticeHandler:
    """Return a handler that prints a watcher's notices, except those without a fault."""

    def on_notice(notice: Notice) -> None:
        if notice.verb not in ("examined", "unprovable"):
            say(f"watcher   {notice}")

    return on_notice


def bond_again(chain: SimulatedChain, stake: Stake, say: Callable[[str], None]) -> None:
    """Top up the bond of a slashed coordinator, if ``coordinator_rebonds`` is set."""
    account = chain.identities.coordinator
    bond = chain.federation.account(Address(account.address)).bond_wei
    if bond < stake.coordinator_minimum_wei and stake.coordinator_rebonds:
        missing = Wei(stake.coordinator_bond_wei - bond)
        chain.federation.bond_coordinator(account, missing)
        say(f"the coordinator bonds {ether(missing)} again")


class SimulatedDisputes:
    """The watcher, if the experiment has one, and the coordinator's responder.

    Parameters
    ----------
    public
        The public artifacts, which are without withheld updates.
    on_notice
        Called with each notice of the watcher of this process.
    pace_s
        Wall-clock seconds to pause after a round for watchers in other processes; 0 for none.
    """

    def __init__(
        self,
        chain: SimulatedChain,
        public: ArtifactStore,
        section: WatcherSection,
        attacker: Attacker,
        on_notice: NoticeHandler,
        pace_s: float = 0.0,
    ) -> None:
        self._chain, self._pace_s = chain, pace_s
        self._responder = Responder(
            chain.federation,
            chain.referee,
            RoundReader(chain.federation, public),
            chain.identities.coordinator,
            DishonestReply(attacker),
        )
        self._watcher: Watcher | None = None
        if section.enabled:
            self._watcher = Watcher(
                chain.federation,
                chain.referee,
                public,
                chain.identities.watcher,
                on_notice,
                WatchOptions(section.lag_rounds, section.interactive),
            )

    def run_watchers(self) -> None:
        """Let every watcher check after a round, until their disputes have ended."""
        if self._watcher is not None:
            self._dispute(self._watcher)
        if self._pace_s:
            self._pause()

    def run_watchers_at_end(self) -> None:
        """Let every watcher check the newest rounds too, once no other round will follow."""
        if self._watcher is not None:
            self._watcher.ignore_lag()
        self.run_watchers()

    def _dispute(self, watcher: Watcher) -> None:
        waited_for = 0
        while True:
            acted = watcher.step()
            acted |= bool(self._responder.step())
            if acted:
                continue
            due = watcher.next_deadline()
            if due is None or due <= waited_for:
                self._responder.settle()
                return
            self._chain.wait_until(due)
            waited_for = due

    def _pause(self) -> None:
        """Wait for watchers; advance chain time if nobody acts on a question for a whole pause."""
        until = time.monotonic() + self._pace_s
        last_head = self._chain.node.head_number
        while True:
            time.sleep(_POLL_S)
            self._responder.step()
            if self._chain.node.head_number != last_head:  # a watcher acts: wait for its next step
                last_head, until = self._chain.node.head_number, time.monotonic() + self._pace_s
            if time.monotonic() < until:
                continue
            waiting = [
                case.due
                for case in self._chain.referee.open_cases()
                if case.state is CaseState.WAITING and case.due >= self._chain.node.next_timestamp
            ]
            if not waiting:
                self._responder.settle()
                return
            self._chain.wait_until(min(waiting))
