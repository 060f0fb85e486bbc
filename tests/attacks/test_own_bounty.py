"""A cheat that collects the bounty for its own fraud.

It opens a case against itself before anybody else does. Once a watcher asks, it answers its own
case falsely and convicts itself by a second account; the watcher's case closes without reward.
"""

from dispute_world import COORDINATOR, STRANGER, WATCHER, DisputeWorld
from known_weakness import attacker_fails, known_weakness

from contracts.binding import referee_calls
from coordinator.protocol.disputes import Column, ColumnAnswer, ProvenEntry, moves, record_moves

ACCOMPLICE = STRANGER


@known_weakness("a case of its own overtakes others'")
def test_known_weakness_the_cheat_is_paid_for_convicting_itself() -> None:
    world = DisputeWorld.create()
    draft = world.draft()
    draft.new_model = draft.new_model.copy()
    draft.new_model[3] += 1
    round_ = world.commit(draft)
    insurance = world.ask(record_moves.challenge_column(round_, 0), ACCOMPLICE)
    before = world.bond
    case = world.ask(record_moves.challenge_column(round_, 3), WATCHER)
    false = Column(tuple((1, 0, 0, 0, 0) for _ in range(round_.committed.n + 1)))
    first = ProvenEntry(false.entries[0], false.path(0))
    world.send(COORDINATOR, referee_calls.answer_column(ColumnAnswer(insurance, false.root, 0, 0)))
    proof = moves.prove_first(insurance, world.case(insurance).kind, first)
    world.send(ACCOMPLICE, referee_calls.convict(proof))
    world.send(WATCHER, referee_calls.close(case))
    slashed = before - world.bond
    assert slashed > 0
    attacker_fails(world.bounty(WATCHER) >= slashed // 2, "the watcher gets nothing")
