"""Computes a round's result from its accepted updates: leaves, weights, new model.

The coordinator calls these functions to make a round, and ``verify`` to replay it, so that there is
one definition of the right result. Vectors are int32 of shape ``(d,)``; no argument is modified.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coordinator.protocol.commitments.digests import contributors_tree, signature_hash
from coordinator.protocol.numbers.weights import apportion
from coordinator.protocol.rules import apply_step, chosen, server_step
from coordinator.protocol.rules.base import Weighting, capped_examples
from coordinator.protocol.rules.chosen import check_fault_bound
from coordinator.protocol.types import (
    Address,
    ContributorEntry,
    ContributorLeaf,
    Int32Vector,
    JsonObject,
    RoundId,
    Rule,
    Signed,
    UpdateMessage,
    Wei,
    address_bytes,
)


@dataclass(frozen=True, slots=True)
class AppliedRule:
    """The model after a round, and the server momentum, ``None`` if the rule has none."""

    model: Int32Vector
    velocity: Int32Vector | None


def build_entries(
    round_id: RoundId,
    accepted: Mapping[Address, Signed[UpdateMessage]],
    metrics: Mapping[Address, JsonObject],
    stakes: Mapping[Address, Wei],
    rule: Rule,
    salts: Mapping[Address, bytes] | None = None,
) -> list[ContributorEntry]:
    """Return the round's contributors in order of address, with their weights.

    ``salts`` opened their commitments in a sealed round, 32 bytes each.

    Raises
    ------
    AggregationError
        If all example counts are zero, so that there are no weights.
    """
    ordered = sorted(accepted, key=address_bytes)
    shares = [_share(accepted[address], rule) for address in ordered]
    weights = apportion(shares, ordered)
    entries = []
    for index, (address, weight) in enumerate(zip(ordered, weights, strict=True)):
        signed = accepted[address]
        leaf = ContributorLeaf(
            round_id=round_id,
            index=index,
            contributor=address,
            update_root=signed.statement.update,
            examples=signed.statement.examples,
            weight=weight,
            stake_wei=stakes[address],
            signature_hash=signature_hash(signed.statement.metrics_hash, signed.signature),
        )
        salt = salts.get(address) if salts else None
        entries.append(ContributorEntry(leaf, signed.signature, metrics[address], salt))
    return entries


def _share(signed: Signed[UpdateMessage], rule: Rule) -> int:
    if rule.weighting == Weighting.UNIFORM:
        return 1
    return capped_examples(rule, signed.statement.examples)


def expected_weights(entries: Sequence[ContributorEntry], rule: Rule) -> list[int]:
    """Return the right weights for the entries' example counts under the rule."""
    uniform = rule.weighting == Weighting.UNIFORM
    shares = [1 if uniform else capped_examples(rule, e.leaf.examples) for e in entries]
    return apportion(shares, [e.leaf.contributor for e in entries])


def contributors_root(entries: Sequence[ContributorEntry]) -> bytes:
    """Return the root of the contributors tree."""
    return contributors_tree([entry.leaf for entry in entries]).root


def totals(entries: Sequence[ContributorEntry], rule: Rule) -> tuple[int, Wei]:
    """Return ``(total_examples, total_stake_wei)``; examples are capped before the sum."""
    examples = sum(capped_examples(rule, entry.leaf.examples) for entry in entries)
    return examples, Wei(sum(entry.leaf.stake_wei for entry in entries))


def apply_rule(
    rule: Rule,
    base_model: Int32Vector,
    updates: Sequence[Int32Vector],
    weights: Sequence[int],
    velocity: Int32Vector | None,
) -> AppliedRule:
    """Aggregate the updates and apply the result to the model, exactly.

    Raises
    ------
    AggregationError
        If the fault bound is not met or the new model leaves the int32 range.
    UnknownRuleError
        If this process has not loaded the rule.
    """
    check_fault_bound(rule, len(updates))
    delta = chosen(rule).aggregate(updates, weights, num_byzantine=rule.num_byzantine)
    step, new_velocity = server_step(delta, velocity, rule.server_lr_q16, rule.server_momentum_q16)
    return AppliedRule(apply_step(base_model, step), new_velocity)
