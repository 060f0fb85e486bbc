"""Builds proofs about parameters, columns and their steps, for the referee.

Each reads the parts of the disputed round that the proof needs, and raises ``ValueError`` if one is
not known. Not handled: whether a proof would succeed, and proofs about single records
(``record_moves``).
"""

from typing import Any

from coordinator.protocol.commitments.merkle import path_positions
from coordinator.protocol.commitments.parameter_tree import ChunkProof
from coordinator.protocol.disputes.cases import (
    CaseKind,
    Evidence,
    Proof,
    ProvenEntry,
    leaf_words,
    rule_words,
)
from coordinator.protocol.disputes.columns import Column, aggregate_column, order_statistics
from coordinator.protocol.disputes.records import DisputedRound, score_and_proof
from coordinator.protocol.types import ContributorLeaf, Rule, address_bytes

MAX_TRANSACTION_BYTES = 128 * 1024
"""Bytes of the largest transaction that every node relays."""

MAX_DIRECT = 512
DIRECT_CHUNK_VALUES = 256
CASE_CHUNK_VALUES = 1024
"""Values of the largest chunk that fits a direct challenge, and a case."""

_ENVELOPE_BYTES = 256
"""Bytes of a transaction's signature, nonce, fees and framing, at most."""
_DIRECT_HEAD_BYTES = 4 + 32 * 18


# --- chunks -----------------------------------------------------------------------------------


def update_chunk(round_: DisputedRound, position: int, chunk: int) -> ChunkProof:
    """Return one chunk of a contributor's update with its proof."""
    leaf = round_.known_entries[position].leaf
    return round_.vector_tree(leaf.update_root, round_.update(position)).proof(chunk)


def model_chunk(round_: DisputedRound, kind: CaseKind, chunk: int) -> ChunkProof:
    """Return one chunk of the base or the new model with its proof."""
    committed = round_.committed
    root = committed.model_root if kind is CaseKind.BASE_MODEL else committed.new_model_root
    return round_.vector_tree(root, round_.model(kind)).proof(chunk)


def parameter_values(round_: DisputedRound, parameter: int) -> list[int]:
    """Return one parameter of every update, in leaf order."""
    return [int(round_.update(i)[parameter]) for i in range(len(round_.known_entries))]


def expected_column(
    round_: DisputedRound, parameter: int, claimed: tuple[int, int] | None = None
) -> Column:
    """Return the right column of one parameter, for the claimed order statistics if any."""
    weights = [entry.leaf.weight for entry in round_.known_entries]
    values = parameter_values(round_, parameter)
    return aggregate_column(round_.known_rule, weights, values, claimed=claimed)


# --- the aggregate ----------------------------------------------------------------------------


def direct_size(rule: Rule, n: int) -> int:
    """Return the largest size of a direct challenge's transaction, in bytes."""
    siblings = sum(place is not None for place in path_positions(0, _chunk_count(rule)))
    stride = 32 * siblings + 4 * rule.chunk_values
    padding = 4 * (DIRECT_CHUNK_VALUES - rule.chunk_values)
    return _ENVELOPE_BYTES + _DIRECT_HEAD_BYTES + 2 * stride + n * (128 + stride) + padding


def fits_directly(rule: Rule, n: int) -> bool:
    """Return whether a challenge with all contributors fits into one transaction."""
    small = rule.chunk_values <= DIRECT_CHUNK_VALUES and n <= MAX_DIRECT
    return small and direct_size(rule, n) <= MAX_TRANSACTION_BYTES


def challenge_chunk(round_: DisputedRound, parameter: int) -> Evidence:
    """Return the proof that one parameter of the new model is wrong, in one transaction.

    One parameter and not the whole chunk, because one wrong value is enough (ADR 71).

    Raises
    ------
    ValueError
        If the rule's chunks are too large for one transaction.
    """
    rule, entries = round_.known_rule, round_.known_entries
    if rule.chunk_values > DIRECT_CHUNK_VALUES:
        raise ValueError(
            f"direct challenge: chunks of {rule.chunk_values} values, "
            f"expected at most {DIRECT_CHUNK_VALUES}"
        )
    chunk = parameter // rule.chunk_values
    kinds = (CaseKind.BASE_MODEL, CaseKind.NEW_MODEL)
    parts = [_joined(model_chunk(round_, kind, chunk)) for kind in kinds]
    for position, entry in enumerate(entries):
        parts.append(_packed(entry.leaf) + _joined(update_chunk(round_, position, chunk)))
    parts.append(bytes(4 * (DIRECT_CHUNK_VALUES - rule.chunk_values)))
    lo, hi = order_statistics(rule, parameter_values(round_, parameter))
    arguments = (round_.committed.round_id, rule_words(rule), parameter, lo, hi)
    return Evidence("challenge_chunk", arguments, b"".join(parts))


def challenge_padding(round_: DisputedRound, proof: ChunkProof) -> Evidence:
    """Return the proof that the new model's last chunk has values behind the last parameter."""
    words = rule_words(round_.known_rule)
    arguments = (round_.committed.round_id, words, proof.chunk, proof.siblings)
    return Evidence("challenge_padding", arguments)


def _joined(proof: ChunkProof) -> bytes:
    return b"".join(proof.siblings) + proof.chunk


def _packed(leaf: ContributorLeaf) -> bytes:
    return (
        address_bytes(leaf.contributor)
        + leaf.examples.to_bytes(8, "big")
        + leaf.weight.to_bytes(4, "big")
        + leaf.update_root
        + leaf.stake_wei.to_bytes(32, "big")
        + leaf.signature_hash
    )


def _chunk_count(rule: Rule) -> int:
    return -(-rule.dimension // rule.chunk_values)


# --- steps of an answered column ---------------------------------------------------------------


def prove_first(case_id: int, kind: CaseKind, first: ProvenEntry) -> Evidence:
    """Return the proof that a column does not start from zero."""
    return Evidence("prove_first", (case_id, int(kind), first.entry, first.path))


def prove_step(
    round_: DisputedRound,
    case_id: int,
    parameter: int,
    position: int,
    before: ProvenEntry,
    after: ProvenEntry,
) -> Evidence:
    """Return the proof that the entry after a contributor is wrong, in a parameter's column."""
    rule = round_.known_rule
    proof = update_chunk(round_, position, parameter // rule.chunk_values)
    arguments = (
        case_id,
        rule_words(rule),
        *_leaf_and_proof(round_, position),
        *(before.entry, before.path, after.entry, after.path),
        *(proof.chunk, proof.siblings),
    )
    return Evidence("prove_step", arguments)


def prove_last(round_: DisputedRound, case_id: int, parameter: int, last: ProvenEntry) -> Evidence:
    """Return the proof that a parameter's column does not end in the new model's value."""
    rule = round_.known_rule
    chunk = parameter // rule.chunk_values
    base = model_chunk(round_, CaseKind.BASE_MODEL, chunk)
    new = model_chunk(round_, CaseKind.NEW_MODEL, chunk)
    arguments = (
        *(case_id, rule_words(rule), last.entry, last.path),
        *(base.chunk, base.siblings, new.chunk, new.siblings),
    )
    return Evidence("prove_last", arguments)


def prove_totals_step(
    round_: DisputedRound, case_id: int, position: int, before: ProvenEntry, after: ProvenEntry
) -> Evidence:
    """Return the proof that the entry after a contributor is wrong, in the column of totals."""
    arguments = (
        *(case_id, rule_words(round_.known_rule), *_leaf_and_proof(round_, position)),
        *(before.entry, before.path, after.entry, after.path),
    )
    return Evidence("prove_totals_step", arguments)


def prove_totals_last(case_id: int, last: ProvenEntry) -> Evidence:
    """Return the proof that a column of totals does not end in the committed totals."""
    return Evidence("prove_totals_last", (case_id, last.entry, last.path))


def prove_payments_step(
    round_: DisputedRound, case_id: int, position: int, before: ProvenEntry, after: ProvenEntry
) -> Evidence:
    """Return the proof that the entry after a contributor is wrong, in the column of payments."""
    arguments = (
        *(case_id, *_leaf_and_proof(round_, position)),
        *score_and_proof(round_, round_.known_entries[position].leaf.contributor),
        *(before.entry, before.path, after.entry, after.path),
    )
    return Evidence("prove_payments_step", arguments)


def prove_payments_last(case_id: int, last: ProvenEntry) -> Evidence:
    """Return the proof that a column of payments does not end in the committed payments."""
    return Evidence("prove_payments_last", (case_id, last.entry, last.path))


def _leaf_and_proof(round_: DisputedRound, position: int) -> tuple[tuple[Any, ...], Proof]:
    leaf = round_.known_entries[position].leaf
    return leaf_words(leaf), round_.leaf_proof(position)
