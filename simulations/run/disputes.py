"""Disputes in a running simulation: the watcher's and the coordinator's turns, and chain time.

In process, the watcher looks after every round, the coordinator answers, and where both wait for
a deadline, chain time is moved there. With a watcher in another process, the simulation pauses
after each round instead, and lets chain time pass only for questions that nobody acts on.
"""

import time
from dataclasses import dataclass

from contracts.binding.referee import CaseRecord, CaseState
from coordinator.audit.responder import Reply, Responder, honest_reply
from coordinator.audit.watch.findings import Tell
from coordinator.audit.watch.rounds import RoundReader
from coordinator.audit.watch.watcher import Watcher, WatchOptions
from coordinator.ports import ArtifactStore
from coordinator.protocol.disputes import CaseKind, Column, ColumnAnswer, DisputedRound, Evidence
from coordinator.protocol.disputes.cases import Entry
from coordinator.protocol.disputes.columns import aggregate_column, wrapped
from coordinator.protocol.disputes.moves import parameter_values
from coordinator.protocol.rules.rule import RuleKind
from coordinator.protocol.types import WEIGHT_TOTAL
from simulations.attacks.dishonest_ports import Attacker
from simulations.experiment import Watcher as WatcherSection
from simulations.experiment.attacks import ShiftAttack
from simulations.run.chain import SimulatedChain

_POLL_S = 0.05


@dataclass(frozen=True)
class DishonestReply:
    """Answers as the attack on a round says; other rounds honestly."""

    attacker: Attacker

    def __call__(self, round_: DisputedRound, case: CaseRecord) -> Reply | None:
        """Return the answer, false or not, or nothing."""
        attack = self.attacker.attack(case.round_id)
        if not isinstance(attack, ShiftAttack) or attack.answers == "right":
            return honest_reply(round_, case)
        if attack.answers == "none" or case.kind is not CaseKind.AGGREGATE:
            return None
        column = false_column(round_, case.index, attack.amount)
        if case.entry is None:
            return ColumnAnswer(case.case_id, column.root, column.lo, column.hi)
        entry, path = column.entries[case.entry], column.path(case.entry)
        return Evidence("answer_entry", (case.case_id, int(case.kind), entry, path))


def false_column(round_: DisputedRound, parameter: int, amount: int) -> Column:
    """Return a column that leads to a result ``amount`` too large; some step in it is false."""
    rule, values = round_.known_rule, parameter_values(round_, parameter)
    weights = [entry.leaf.weight for entry in round_.known_entries]
    if rule.kind != RuleKind.FEDAVG:
        return aggregate_column(rule, weights, [value + amount for value in values])
    right = aggregate_column(rule, weights, values).entries
    half = len(right) // 2
    false = [_raised(entry, amount) if i >= half else entry for i, entry in enumerate(right)]
    return Column(tuple(false))


def _raised(entry: Entry, amount: int) -> Entry:
    return (wrapped(entry[0] + amount * WEIGHT_TOTAL), *entry[1:])


class SimulatedDisputes:
    """The watcher, if the experiment has one, and the coordinator's responder.

    Parameters
    ----------
    public
        The artifacts as anyone can read them; a withheld update is not among them.
    tell
        Hears what the watcher of this process has to say.
    pace_s
        Wall-clock seconds to pause after a round for watchers in other processes; 0 for none.
    """

    def __init__(
        self,
        chain: SimulatedChain,
        public: ArtifactStore,
        section: WatcherSection,
        attacker: Attacker,
        tell: Tell,
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
                tell,
                WatchOptions(section.lag_rounds, section.interactive),
            )

    def look(self) -> None:
        """Give every watcher its turn after a round, and let their disputes end."""
        if self._watcher is not None:
            self._dispute(self._watcher)
        if self._pace_s:
            self._pause()

    def look_at_all(self) -> None:
        """Look at the newest rounds too, when no other will stand on them."""
        if self._watcher is not None:
            self._watcher.look_at_all()
        self.look()

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
        """Wait for others; move chain time where a question has been left alone for a pause."""
        until = time.monotonic() + self._pace_s
        seen = self._chain.node.head_number
        while True:
            time.sleep(_POLL_S)
            self._responder.step()
            if self._chain.node.head_number != seen:  # somebody acts: let them go on
                seen, until = self._chain.node.head_number, time.monotonic() + self._pace_s
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
