"""Rounds judged by the deployed bytecode without mining: calls one after another, on revm.

A transaction in a block of the embedded chain takes a hundred times as long. A trial advances time
only to let a question expire; everything else that depends on time is tested on the chain.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random

import numpy as np
from dispute_rounds import Draft, layout_of
from dispute_world import BOND_BPS, COORDINATOR, DEPOSIT, WATCHER, DisputeWorld, terms
from revm_chain import RevmNode

from contracts.binding import calls, referee_calls
from contracts.binding.calls import Call
from coordinator.protocol.commitments.digests import rule_hash
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.disputes import Column, DisputedRound, Evidence, Question
from coordinator.protocol.disputes.cases import ColumnAnswer
from coordinator.protocol.errors import TransactionRevertedError
from coordinator.protocol.round.chain_round import RoundStatus
from coordinator.protocol.round.incentives import slash_amount
from coordinator.protocol.types import Address, RoundId, Rule, Wei


@dataclass
class Trial:
    """A deployed federation whose state a test changes and reverts."""

    world: DisputeWorld
    base: np.ndarray
    rule: Rule
    node: RevmNode
    members: list[Address]
    bonds: dict[Address, Wei]

    @classmethod
    def create(cls, base: np.ndarray, rule: Rule) -> "Trial":
        """Deploy a federation for this trial: model and layout are fixed at deployment."""
        world = DisputeWorld.create(agreed=terms(base, rule), revm=True)
        node = world.node
        assert isinstance(node, RevmNode)
        bonds = dict(world.federation.stakes_at(RoundId(1)))
        return cls(world, base, rule, node, world.federation.members(), bonds)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Revert every change of state made inside."""
        snapshot = self.node.snapshot()
        try:
            yield
        finally:
            self.node.revert(snapshot)

    def send(self, sender: Address, call: Call) -> bytes:
        """Apply a call to the state; return its output."""
        world = self.world
        to = world.referee.address if call.contract == "referee" else world.federation.address
        output, _ = self.node.execute(sender, to, call)
        return output

    # Rounds ------------------------------------------------------------------------------

    def commit(self, draft: Draft, *, settled: bool = True) -> DisputedRound:
        """Open, seal and settle a round."""
        round_ = draft.disputed(settled=settled)
        committed = round_.committed
        me = Address(COORDINATOR.address)
        number = RoundId(draft.number)
        root = parameter_root(draft.base_model, layout_of(draft.rule))
        deadline = self.world.now + 1_000
        self.send(me, calls.open_round(number, root, rule_hash(draft.rule), deadline))
        seal = calls.seal_round(number, committed.seal)
        self.send(me, seal)
        if settled:
            settle = calls.settle_round(number, committed.settlement)
            self.send(me, settle)
        return round_

    # Disputes ----------------------------------------------------------------------------

    def refusal(self, evidence: Evidence) -> str:
        """Why evidence does not convict; empty if it does."""
        with self.undone():
            try:
                self.send(Address(WATCHER.address), referee_calls.convict(evidence))
            except TransactionRevertedError as refused:
                return refused.reason or "no reason"
        return ""

    def convict(self, evidence: Evidence) -> None:
        """Send evidence that must convict."""
        self._convicted_by(referee_calls.convict(evidence))

    def convict_by_silence(self, case_id: int) -> None:
        """Let the time to answer pass and end a case, which must convict."""
        case = self.world.referee.case(case_id)
        assert case is not None
        self.node.mine(case.due)
        self._convicted_by(referee_calls.timeout(case_id))

    def _convicted_by(self, call: Call) -> None:
        """Send a call; the head round must be void, the bond cut, and the watcher paid for it."""
        world = self.world
        guilty, bond, bounty = world.federation.head().head_round, world.bond, self._bounty
        cut = slash_amount(Wei(bond), BOND_BPS)
        assert cut.bounty_wei > 0
        self.send(Address(WATCHER.address), call)
        assert world.federation.status(guilty) is RoundStatus.VOID
        assert world.bond == bond - cut.taken_wei
        assert self._bounty == bounty + cut.bounty_wei

    @property
    def _bounty(self) -> int:
        return self.world.bounty(WATCHER)

    def is_refused(self, case_id: int, answer: ColumnAnswer | Evidence) -> bool:
        """Whether the contract refuses an answer."""
        with self.undone():
            try:
                self.send(Address(COORDINATOR.address), referee_calls.reply(case_id, answer))
            except TransactionRevertedError:
                return True
        return False

    def ask(self, question: Question) -> int:
        """Open a case and return its number."""
        call = referee_calls.ask(question, Wei(DEPOSIT))
        return int.from_bytes(self.send(Address(WATCHER.address), call), "big")

    def answer(self, case_id: int, column: Column) -> None:
        """Answer a question with a column, right or not."""
        reply = ColumnAnswer(case_id, column.root, column.lo, column.hi)
        self.send(Address(COORDINATOR.address), referee_calls.answer_column(reply))

    @staticmethod
    def falsified(rng: Random, column: Column, at: int) -> Column:
        """The column with one word of one entry changed."""
        entry = list(column.entries[at])
        word = rng.randrange(5)
        changes = [entry[word] + 1, entry[word] - 1, 2**255 - 1, -(2**255), rng.randrange(2**64)]
        entry[word] = rng.choice([value for value in changes if value != entry[word]])
        a, b, c, d, e = entry
        entries = (*column.entries[:at], (a, b, c, d, e), *column.entries[at + 1 :])
        return replace(column, entries=entries)
