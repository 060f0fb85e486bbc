"""Faults of a round's contributors: single leaves, signatures, pairs of leaves, totals.

Repeats each check of the record examiner, so that every fault found here can be convicted.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from coordinator.protocol.disputes.fault import Fault, FaultKind
from coordinator.protocol.disputes.records import DisputedRound
from coordinator.protocol.errors import SignatureError
from coordinator.protocol.round.result import totals
from coordinator.protocol.rules.base import Weighting, capped_examples
from coordinator.protocol.signatures.eip712 import verify_statement
from coordinator.protocol.types import (
    WEIGHT_TOTAL,
    ContributorLeaf,
    Rule,
    Signed,
    UpdateMessage,
    Wei,
    address_bytes,
)


def contributor_faults(round_: DisputedRound) -> Iterator[Fault]:
    """Yield the faults of the published contributors and of the totals over them."""
    entries = round_.known_entries
    yield from pair_faults(round_)
    for position, entry in enumerate(entries):
        offence = leaf_offence(round_, entry.leaf)
        if offence:
            yield Fault(FaultKind.LEAF, f"leaf {position}: {offence}", position)
        refused = signature_offence(round_, position)
        if refused:
            yield Fault(FaultKind.SIGNATURE, f"leaf {position}: {refused}", position)
    weight = sum(entry.leaf.weight for entry in entries)
    found_totals = (weight, *totals(entries, round_.known_rule))
    committed = round_.committed
    expected = (WEIGHT_TOTAL, committed.total_examples, committed.total_stake_wei)
    if found_totals != expected:
        detail = f"the leaves sum to {found_totals}, expected {expected}"
        yield Fault(FaultKind.TOTALS, f"weights, examples, stakes: {detail}")


def leaf_offence(round_: DisputedRound, leaf: ContributorLeaf) -> str:
    """Return the fault of a single leaf, the empty string if it has none."""
    committed = round_.committed
    bond = round_.bonds.get(leaf.contributor, Wei(0))
    checks = (
        (leaf.round_id == committed.round_id, f"of round {leaf.round_id}"),
        (leaf.index < committed.n, f"index {leaf.index} of {committed.n}"),
        (leaf.contributor in round_.member_set, f"{leaf.contributor} was no member"),
        (leaf.stake_wei == bond, f"stake {leaf.stake_wei}, the bond was {bond}"),
        (bond >= round_.min_stake_wei, f"stake {bond}, at least {round_.min_stake_wei}"),
        (_is_apportioned(round_, leaf), f"weight {leaf.weight}, not its quota rounded"),
    )
    return next((offence for sound, offence in checks if not sound), "")


def _is_apportioned(round_: DisputedRound, leaf: ContributorLeaf) -> bool:
    quota = _quota(round_, leaf)
    if quota is None:
        return False
    floor, rest = quota
    return leaf.weight == floor or (rest > 0 and leaf.weight == floor + 1)


def _quota(round_: DisputedRound, leaf: ContributorLeaf) -> tuple[int, int] | None:
    """Return floor and remainder of a leaf's quota according to the committed totals."""
    share, total = _share(round_.known_rule, leaf), round_.committed.total_examples
    if round_.known_rule.weighting == Weighting.UNIFORM:
        total = round_.committed.n
    return divmod(share * WEIGHT_TOTAL, total) if total else None


def _share(rule: Rule, leaf: ContributorLeaf) -> int:
    return 1 if rule.weighting == Weighting.UNIFORM else capped_examples(rule, leaf.examples)


def signature_offence(round_: DisputedRound, position: int) -> str:
    """Return why a contributor's signature is invalid, the empty string if it is valid."""
    entry = round_.known_entries[position]
    message = UpdateMessage(
        round_id=round_.committed.round_id,
        base_model=round_.committed.model_root,
        update=entry.leaf.update_root,
        examples=entry.leaf.examples,
        metrics_hash=round_.metrics_hash(position),
    )
    signed = Signed(entry.leaf.contributor, message, entry.signature)
    try:
        verify_statement(round_.domain, signed)
    except SignatureError as refused:
        return str(refused)
    return ""


def pair_faults(round_: DisputedRound) -> Iterator[Fault]:
    """Yield a fault for neighbours by index, or for weights, that contradict each other."""
    leaves = [entry.leaf for entry in round_.known_entries]
    by_index = sorted(range(len(leaves)), key=lambda at: leaves[at].index)
    for first, second in pairwise(by_index):
        offence = _pair_offence(leaves[first], leaves[second])
        if offence:
            yield Fault(FaultKind.PAIR, offence, first, second)
    seen: dict[str, int] = {}
    for at, leaf in enumerate(leaves):
        earlier = seen.setdefault(leaf.contributor, at)
        if earlier != at:
            yield Fault(FaultKind.PAIR, f"{leaf.contributor} counted twice", earlier, at)
    jumped = _jumped(round_, leaves)
    if jumped is not None:
        up, down = jumped
        detail = f"leaf {up} was rounded up, leaf {down} comes first and was not"
        yield Fault(FaultKind.PAIR, detail, up, down)


def _pair_offence(first: ContributorLeaf, second: ContributorLeaf) -> str:
    if first.index == second.index:
        return f"two leaves with index {first.index}"
    if address_bytes(first.contributor) > address_bytes(second.contributor):
        return f"indices {first.index} and {second.index} against the order of addresses"
    return ""


def _jumped(round_: DisputedRound, leaves: Sequence[ContributorLeaf]) -> tuple[int, int] | None:
    """Return the positions of a leaf rounded up, and of one that should have been instead.

    Compares the last in line of all leaves rounded up with the first of all rounded down.
    """
    lines: dict[int, list[tuple[tuple[int, bytes], int]]] = {0: [], 1: []}
    for at, leaf in enumerate(leaves):
        quota = _quota(round_, leaf)
        if quota is not None and leaf.weight - quota[0] in lines:
            key = (-quota[1], address_bytes(leaf.contributor))
            lines[leaf.weight - quota[0]].append((key, at))
    if not lines[0] or not lines[1]:
        return None
    last_up, first_down = max(lines[1]), min(lines[0])
    return (last_up[1], first_down[1]) if first_down < last_up else None
