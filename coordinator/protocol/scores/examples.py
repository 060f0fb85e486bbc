"""Score by the number of examples a contributor says it trained on, capped by the rule.

Not handled: whether it is true. A free rider earns as much as it dares to claim, up to the cap; use
``leave_one_out`` where contributors are not known to each other.
"""

from coordinator.protocol.scores.base import ScoringRule
from coordinator.protocol.scores.scoring_round import ScoringRound


def examples(scored: ScoringRound) -> list[int]:
    """Return each contributor's capped number of examples, in order.

    The cap is ``rule.examples_cap``, the same that bounds the weight.
    """
    return [min(count, scored.rule.examples_cap) for count in scored.examples]


EXAMPLES = ScoringRule(name="examples", score=lambda given: examples(given.round))
