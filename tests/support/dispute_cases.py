"""Random rounds, random alterations of one value, and random changes of evidence; by seed."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
from dispute_rounds import (
    FEDAVG,
    MEDIAN,
    TRIMMED_MEAN,
    Draft,
    forged,
    honest_draft,
    make_rule,
)
from eth_account.signers.local import LocalAccount

from coordinator.protocol.disputes import CaseKind, Column, DisputedRound, Evidence, ProvenEntry
from coordinator.protocol.disputes import moves as build
from coordinator.protocol.disputes import record_moves as ask
from coordinator.protocol.errors import AggregationError
from coordinator.protocol.round.incentives import split_budget
from coordinator.protocol.rules.base import capped_examples
from coordinator.protocol.types import (
    WEIGHT_TOTAL,
    Address,
    Int32Vector,
    RewardLeaf,
    RoundId,
    Rule,
    ScoreLeaf,
    SigningDomain,
    Wei,
)

LAYOUTS = ((1, 1), (2, 1), (5, 2), (9, 8), (3, 256), (17, 3))
"""Dimension and chunk size of the worlds in which rounds are tried."""
OUTSIDERS = tuple(Address("0x" + text * 20) for text in ("00", "01", "80"))


class NotPossible(Exception):
    """This alteration cannot be made to this round."""


def layout_rule(dimension: int, chunk_values: int) -> Rule:
    return make_rule(dimension=dimension, chunk_values=chunk_values)


def layout_base(dimension: int) -> Int32Vector:
    """An initial model with values near both ends of int32, and in the middle."""
    rng = np.random.default_rng(dimension)
    values = rng.integers(-(2**31), 2**31, dimension, dtype=np.int64)
    values[:: 2 if dimension > 1 else 1] //= 1 << 20
    return values.astype(np.int32)


# --- honest rounds -----------------------------------------------------------------------------


def random_rule(rng: Random, n: int, dimension: int, chunk_values: int) -> Rule:
    kind = rng.choice([FEDAVG, FEDAVG, MEDIAN, TRIMMED_MEAN])
    changes: dict[str, Any] = {
        "kind": kind,
        "dimension": dimension,
        "chunk_values": chunk_values,
        "examples_cap": rng.choice([1, 5, 100, 2**40 - 1]),
        "server_lr_q16": rng.choice([1 << 16, 1 << 16, 1, 40_000, 100_000, 2**32 - 1]),
        "min_contributors": rng.randint(1, n),
    }
    if kind == FEDAVG:
        changes["weighting"] = rng.choice([1, 2])
    if kind == TRIMMED_MEAN:
        changes["num_byzantine"] = rng.randint(0, (n - 1) // 2)
    return make_rule(**changes)


def random_updates(rng: Random, n: int, dimension: int, scale: int) -> list[Int32Vector]:
    """Few different values, so that columns have ties; now and then the ends of int32."""
    values = [rng.randint(-scale, scale) for _ in range(4)]
    if scale > 2**30:
        values += [-(2**31), 2**31 - 1]
    return [np.array(rng.choices(values, k=dimension), np.int32) for _ in range(n)]


def random_draft(
    rng: Random,
    signers: Sequence[LocalAccount],
    *,
    members: Sequence[Address],
    bonds: dict[Address, Wei],
    domain: SigningDomain,
    base: Int32Vector,
    chunk_values: int,
    parent: Draft | None = None,
) -> Draft:
    """An honest round of some of the members; where a sum would overflow, of smaller updates."""
    n = rng.randint(1, len(signers))
    chosen = sorted(rng.sample(range(len(signers)), n))
    dimension = len(base)
    rule = random_rule(rng, n, dimension, chunk_values)
    examples = [rng.choice([1, 2, 3, 7, 100, rng.randint(1, 10**6)]) for _ in range(n)]
    for scale in (rng.choice([2**31 - 1, 2**20, 100, 3]), 100, 1, 0):
        try:
            return honest_draft(
                [signers[i] for i in chosen],
                random_updates(rng, n, dimension, scale),
                examples,
                rule=rule,
                base_model=parent.new_model if parent else base,
                number=parent.number + 1 if parent else 1,
                domain=domain,
                members=members,
                bonds=bonds,
                budget=700,
                parent_members=parent.members if parent else (),
                parent_rewards=parent.rewards if parent else (),
            )
        except AggregationError:
            continue
    raise AssertionError("updates of zero overflow")


# --- one altered value -------------------------------------------------------------------------


def pay_again(draft: Draft) -> None:
    """Total, payment and rewards that follow from whatever the scores are."""
    split = split_budget(Wei(draft.budget), {x.contributor: x.score for x in draft.scores})
    before = {x.contributor: x.cumulative_wei for x in draft.parent_rewards}
    draft.total_score = sum(x.score for x in draft.scores)
    draft.paid = split.paid_wei
    draft.rewards = [
        replace(x, cumulative_wei=before.get(x.contributor, 0) + split.shares.get(x.contributor, 0))
        for x in draft.rewards
    ]


def _other(rng: Random, value: int, limit: int) -> int:
    """Another number below a limit, often a neighbour."""
    near = [value + 1, value - 1, 0, limit - 1, rng.randrange(limit)]
    choices = [number for number in near if number != value and 0 <= number < limit]
    return rng.choice(choices)


def _leaf(field: str, limit: int) -> Callable[[Random, Draft], None]:
    def alter(rng: Random, draft: Draft) -> None:
        at = rng.randrange(len(draft.entries))
        value = getattr(draft.entries[at].leaf, field)
        draft.change_leaf(at, **{field: _other(rng, value, limit)})

    return alter


def alter_model(rng: Random, draft: Draft) -> None:
    at = rng.randrange(len(draft.new_model))
    value = int(draft.new_model[at])
    draft.new_model = draft.new_model.copy()
    draft.new_model[at] = _other(rng, value + 2**31, 2**32) - 2**31


def alter_leaf_contributor(rng: Random, draft: Draft) -> None:
    at = rng.randrange(len(draft.entries))
    other = [*draft.members, *OUTSIDERS]
    other.remove(draft.entries[at].leaf.contributor)
    draft.change_leaf(at, contributor=rng.choice(other))


def alter_leaf_update(rng: Random, draft: Draft) -> None:
    at = rng.randrange(len(draft.entries))
    draft.change_leaf(at, update_root=rng.randbytes(32))
    draft.updates[at] = None  # type: ignore[call-overload]


def alter_signature(rng: Random, draft: Draft) -> None:
    at = rng.randrange(len(draft.entries))
    signature = bytearray(draft.entries[at].signature)
    signature[rng.randrange(65)] ^= 1 << rng.randrange(8)
    draft.entries[at] = forged(draft.entries[at], bytes(signature))


def alter_order(rng: Random, draft: Draft) -> None:
    if len(draft.entries) < 2:
        raise NotPossible
    one, two = rng.sample(range(len(draft.entries)), 2)
    for rows in (draft.entries, draft.updates):
        rows[one], rows[two] = rows[two], rows[one]  # type: ignore[index]
    for at in (one, two):
        draft.change_leaf(at, index=at)


def alter_twice(rng: Random, draft: Draft) -> None:
    if len(draft.entries) < 2:
        raise NotPossible
    one, two = rng.sample(range(len(draft.entries)), 2)
    draft.entries[two] = draft.entries[one]
    draft.updates[two] = draft.updates[one]
    draft.change_leaf(two, index=two)


def alter_total_examples(rng: Random, draft: Draft) -> None:
    draft.total_examples = _other(rng, draft.total_examples, 2**128)


def alter_total_stake(rng: Random, draft: Draft) -> None:
    draft.total_stake = _other(rng, draft.total_stake, 2**128)


def alter_apportionment(rng: Random, draft: Draft) -> None:
    """Round the wrong one up: every leaf stays floor or ceiling, and the sum holds."""
    uniform = draft.rule.weighting == 2
    shares = [1 if uniform else capped_examples(draft.rule, e.leaf.examples) for e in draft.entries]
    quotas = [divmod(share * WEIGHT_TOTAL, sum(shares)) for share in shares]
    leaves = [entry.leaf for entry in draft.entries]
    up = [i for i, leaf in enumerate(leaves) if leaf.weight > quotas[i][0]]
    down = [i for i, leaf in enumerate(leaves) if leaf.weight == quotas[i][0] and quotas[i][1]]
    if not up or not down:
        raise NotPossible
    one, two = rng.choice(up), rng.choice(down)
    draft.change_leaf(one, weight=leaves[one].weight - 1)
    draft.change_leaf(two, weight=leaves[two].weight + 1)


def alter_score(rng: Random, draft: Draft) -> None:
    at = rng.randrange(len(draft.scores))
    draft.change_score(at, score=_other(rng, draft.scores[at].score, 2**64))
    pay_again(draft)


def alter_total_score(rng: Random, draft: Draft) -> None:
    draft.total_score = max(1, _other(rng, draft.total_score, 2**128))
    if draft.total_score == sum(leaf.score for leaf in draft.scores):
        raise NotPossible


def alter_paid(rng: Random, draft: Draft) -> None:
    """Only payments that the federation accepts: at most the budget, less than n below it."""
    lowest = max(0, draft.budget - len(draft.entries) + 1)
    choices = [paid for paid in range(lowest, draft.budget + 1) if paid != draft.paid]
    if not choices:
        raise NotPossible
    draft.paid = rng.choice(choices)


def alter_reward(rng: Random, draft: Draft) -> None:
    at = rng.randrange(len(draft.rewards))
    leaf = draft.rewards[at]
    other = _other(rng, leaf.cumulative_wei, 2**256)
    draft.rewards[at] = replace(leaf, cumulative_wei=Wei(other))


def alter_outsider(rng: Random, draft: Draft) -> None:
    who = rng.choice(OUTSIDERS)
    at = rng.randrange(len(draft.rewards) + 1)
    draft.rewards.insert(at, RewardLeaf(who, Wei(rng.randrange(2**20))))


def alter_two_rewards(rng: Random, draft: Draft) -> None:
    leaf = rng.choice(draft.rewards)
    draft.rewards.append(replace(leaf, cumulative_wei=Wei(leaf.cumulative_wei + 1)))


def alter_two_scores(rng: Random, draft: Draft) -> None:
    leaf = rng.choice(draft.scores)
    draft.scores.append(replace(leaf, score=_other(rng, leaf.score, 2**64)))


def alter_stray_score(rng: Random, draft: Draft) -> None:
    took_part = {leaf.contributor for leaf in draft.scores}
    idle = [who for who in (*draft.members, *OUTSIDERS) if who not in took_part]
    draft.scores.append(ScoreLeaf(RoundId(draft.number), rng.choice(idle), rng.randrange(9)))


def alter_score_round(rng: Random, draft: Draft) -> None:
    at = rng.randrange(len(draft.scores))
    draft.change_score(at, round_id=RoundId(draft.number + 1))


def alter_rule(rng: Random, draft: Draft) -> None:
    n = len(draft.entries)
    draft.rule = replace(draft.rule, min_contributors=rng.randint(n + 1, 2 * n + 1))


ALTERATIONS: dict[str, Callable[[Random, Draft], None]] = {
    "new model": alter_model,
    "leaf weight": _leaf("weight", 2**32),
    "leaf stake": _leaf("stake_wei", 2**256),
    "leaf examples": _leaf("examples", 2**64),
    "leaf index": _leaf("index", 2**32),
    "leaf round": _leaf("round_id", 2**64),
    "leaf contributor": alter_leaf_contributor,
    "leaf update": alter_leaf_update,
    "signature": alter_signature,
    "order": alter_order,
    "counted twice": alter_twice,
    "total examples": alter_total_examples,
    "total stake": alter_total_stake,
    "apportionment": alter_apportionment,
    "score": alter_score,
    "total score": alter_total_score,
    "paid": alter_paid,
    "reward": alter_reward,
    "outsider's reward": alter_outsider,
    "two rewards": alter_two_rewards,
    "two scores": alter_two_scores,
    "stray score": alter_stray_score,
    "score's round": alter_score_round,
    "too few": alter_rule,
}


# --- attempts on honest rounds -----------------------------------------------------------------


def random_evidence(rng: Random, round_: DisputedRound) -> Evidence:
    """Evidence as it would be built against a fault, at some place of a round."""
    n = len(round_.known_entries)
    position, other = rng.randrange(n), rng.randrange(n)
    score, reward = rng.randrange(n), rng.randrange(len(round_.known_rewards))
    builders: list[Callable[[], Evidence]] = [
        lambda: build.challenge_chunk(round_, rng.randrange(round_.known_rule.dimension)),
        lambda: build.challenge_padding(
            round_,
            build.model_chunk(round_, CaseKind.NEW_MODEL, round_.layout.chunk_count - 1),
        ),
        lambda: ask.challenge_rule(round_),
        lambda: ask.challenge_leaf(round_, position),
        lambda: ask.challenge_signature(round_, position),
        lambda: ask.challenge_pair(round_, position, other),
        lambda: ask.challenge_score(round_, position, score),
        lambda: ask.challenge_score_form(round_, score),
        lambda: ask.challenge_score_pair(round_, score, rng.randrange(n)),
        lambda: ask.challenge_stray_score(round_, score),
        lambda: ask.challenge_reward(round_, reward),
        lambda: ask.challenge_outsider(round_, reward),
    ]
    return rng.choice(builders)()


def random_column_evidence(
    rng: Random, round_: DisputedRound, case_id: int, kind: CaseKind, parameter: int, column: Column
) -> Evidence:
    """Evidence against the answered column of an honest round."""
    n = len(round_.known_entries)

    def at(index: int) -> ProvenEntry:
        return ProvenEntry(column.entries[index], column.path(index))

    i = rng.randrange(n)
    j = rng.choice([i, rng.randrange(n)])
    if rng.random() < 0.2:
        return build.prove_first(case_id, kind, at(rng.choice([0, i])))
    last = at(rng.choice([n, i]))
    if kind is CaseKind.AGGREGATE:
        step = build.prove_step(round_, case_id, parameter, j, at(i), at(i + 1))
        return rng.choice([step, build.prove_last(round_, case_id, parameter, last)])
    if kind is CaseKind.TOTALS:
        step = build.prove_totals_step(round_, case_id, j, at(i), at(i + 1))
        return rng.choice([step, build.prove_totals_last(case_id, last)])
    step = build.prove_payments_step(round_, case_id, j, at(i), at(i + 1))
    return rng.choice([step, build.prove_payments_last(case_id, last)])


def mutated(rng: Random, evidence: Evidence) -> Evidence:
    """The evidence with one value of it changed, wherever it is."""
    if evidence.tail and rng.random() < 0.6:
        return replace(evidence, tail=_mutated_bytes(rng, evidence.tail))
    return replace(evidence, arguments=_mutated(rng, evidence.arguments))


def _mutated(rng: Random, value: Any) -> Any:
    if isinstance(value, tuple):
        is_proof = all(isinstance(item, bytes) and len(item) == 32 for item in value)
        if not value or (is_proof and rng.random() < 0.5):
            return _mutated_proof(rng, value)
        at = rng.randrange(len(value))
        return (*value[:at], _mutated(rng, value[at]), *value[at + 1 :])
    if isinstance(value, str):
        return rng.choice(OUTSIDERS)
    if isinstance(value, bytes):
        return _mutated_bytes(rng, value)
    if value < 0:
        return rng.choice([value + 1, value - 1, -value, 0, -(2**255)])
    choices = [value + 1, value - 1, 0, 1, 2**31, 2**64, 2**255 - 1, rng.randrange(2**32)]
    return rng.choice([number for number in choices if number >= 0])


def _mutated_proof(rng: Random, proof: tuple[bytes, ...]) -> tuple[bytes, ...]:
    items = list(proof)
    choice = rng.randrange(4)
    if choice == 0 and items:
        items.pop(rng.randrange(len(items)))
    elif choice == 1 and len(items) > 1:
        rng.shuffle(items)
    elif choice == 2 and items:
        items[rng.randrange(len(items))] = rng.randbytes(32)
    else:
        items.insert(rng.randint(0, len(items)), rng.randbytes(32))
    return tuple(items)


def _mutated_bytes(rng: Random, data: bytes) -> bytes:
    # A digest keeps its length: there is no other way to encode it.
    if len(data) != 32 and rng.random() < 0.2:
        return rng.choice([data[:-1], data + b"\0", data[4:], b""])
    if not data:
        return b"\0"
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
