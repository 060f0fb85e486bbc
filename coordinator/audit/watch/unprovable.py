"""Faults that no contract can judge: a watcher reports them and convicts nobody over them.

Not handled: aggregates under a rule that the referee does not know, server momentum, and scores
other than by examples, which need earlier rounds or the evaluation set; ``fedproof verify``
re-executes them.
"""

from collections.abc import Iterator

from coordinator.protocol.disputes.fault import EXAMPLES_SCORING
from coordinator.protocol.disputes.records import DisputedRound
from coordinator.protocol.numbers.norms import squared_norm
from coordinator.protocol.rules import is_provable
from coordinator.protocol.types import Rule


def unprovable_parts(rule: Rule) -> Iterator[str]:
    """Yield a line for each part of a rule that no contract can judge."""
    if not is_provable(rule):
        yield (
            f"aggregates by a rule of kind {rule.kind}: not provable by this referee; fedproof "
            "verify re-executes them where it knows the rule"
        )
    limits = [
        (rule.server_momentum_q16, "aggregates under server momentum"),
        (rule.scoring_hash != EXAMPLES_SCORING, "scores by another rule than examples"),
    ]
    for applies, part in limits:
        if applies:
            yield f"{part} cannot be proven on chain; fedproof verify re-executes them"


def norms_above_bound(round_: DisputedRound) -> Iterator[str]:
    """Yield a line for each update above the rule's norm bound, which should have been refused."""
    if round_.rule is None or not round_.rule.norm_bound_q or round_.entries is None:
        return
    bound = round_.rule.norm_bound_q
    updates = round_.updates or [None] * len(round_.entries)
    for entry, update in zip(round_.entries, updates, strict=True):
        if update is not None and squared_norm(update) > bound * bound:
            yield (
                f"the update of {entry.leaf.contributor} has an L2 norm above {bound}; "
                "it cannot be proven on chain"
            )
