"""What chain and published documents say of rounds, contributors and the coordinator, in figures.

A run's records are written from these, and its audit compares them with the same. Not handled: what
neither knows (refusals, test accuracy, wall time), and the form of the files.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from contracts.binding.events import CoordinatorBonded, FederationEvent, Slashed
from contracts.binding.reader import FederationReader
from coordinator.protocol.round.chain_round import ChainRound
from coordinator.protocol.rules.base import capped_examples
from coordinator.protocol.types import Address, ContributorEntry, JsonObject, Rule


def round_figures(
    state: ChainRound, entries: Sequence[ContributorEntry], rule: Rule
) -> dict[str, Any]:
    """Return the figures of a decided round, by column of the metrics.

    Parameters
    ----------
    entries, rule
        What the round committed to; not looked at in a void round.
    """
    counts = state.status.has_result
    return {
        "round": int(state.round_id),
        "status": state.status.word,
        "model_root": state.new_model_root.hex() if counts else "",
        "contributors_root": state.contributors_root.hex() if counts else "",
        "contributors": state.n if counts else 0,
        "examples": sum(capped_examples(rule, e.leaf.examples) for e in entries) if counts else 0,
        "stake_wei": int(state.total_stake_wei) if counts else 0,
        "paid_wei": int(state.paid_wei) if counts else 0,
        "train_loss": _train_loss(entries) if counts else None,
    }


def _train_loss(entries: Sequence[ContributorEntry]) -> float | None:
    """Return the mean of the contributors' own training losses, weighted by examples."""
    reported = [
        (float(entry.metrics["train-loss"]), entry.leaf.examples)
        for entry in entries
        if isinstance(entry.metrics.get("train-loss"), float)
    ]
    total = sum(examples for _, examples in reported)
    return sum(loss * examples for loss, examples in reported) / total if total else None


def slashed_wei(events: Iterable[FederationEvent]) -> Mapping[Address, int]:
    """Return how much was taken from each account's bond; accounts never slashed are absent."""
    taken: Counter[Address] = Counter()
    for event in events:
        if isinstance(event, Slashed):
            taken[event.account] += int(event.amount)
    return dict(taken)


def coordinator_figures(federation: FederationReader) -> JsonObject:
    """Return the coordinator's bond and convictions, in order of block; wei as text."""
    address, events = federation.terms.coordinator, list(federation.events())
    bonded = sum(int(event.amount) for event in events if isinstance(event, CoordinatorBonded))
    return {
        "address": address,
        "bond_wei": str(federation.account(address).bond_wei),
        "bonded_wei": str(bonded),
        "convictions": [
            {
                "round": int(event.round),
                "offence": event.offence_text,
                "prover": event.prover,
                "slashed_wei": str(event.amount),
                "bounty_wei": str(event.bounty),
                "burned_wei": str(event.amount - event.bounty),
                "bond_after_wei": str(event.bond),
                "block": event.place.block_number,
                "transaction": "0x" + event.place.transaction_hash.hex(),
            }
            for event in events
            if isinstance(event, Slashed) and event.account == address
        ],
    }
