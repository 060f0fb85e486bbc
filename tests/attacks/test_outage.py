"""One outage of an honest coordinator, and as many convictions as there are rounds in dispute.

Questions on every round, opened together, are timed out from the top of the stack down: each cuts
the bond again.
"""

from dispute_world import BOND, BOND_BPS, STRANGER, DisputeWorld
from known_weakness import attacker_fails, known_weakness

from contracts.binding import referee_calls
from coordinator.protocol.disputes import Question

ROUNDS = 5
RULE_RECORD = 4


@known_weakness("each question cuts the bond again")
def test_known_weakness_one_outage_cuts_the_bond_once_a_round() -> None:
    world = DisputeWorld.create()
    parent = None
    for number in range(1, ROUNDS + 1):
        parent = world.draft(number=number, parent=parent)
        world.commit(parent)
    cases = [
        world.ask(Question("demand_record", (number, RULE_RECORD, 0)), STRANGER)
        for number in range(1, ROUNDS + 1)
    ]
    world.wait_until(max(world.case(case).due for case in cases))
    for case in reversed(cases):
        world.send(STRANGER, referee_calls.timeout(case))
    attacker_fails(
        world.bond >= BOND * (10_000 - BOND_BPS) // 10_000,
        f"of a bond of {BOND} wei {world.bond} are left",
    )
