"""Audits a round's leaves: order, count, weights, totals, bonds, signatures."""

from collections.abc import Iterator, Mapping, Sequence

from coordinator.audit.verify.findings import Broken
from coordinator.protocol.commitments.digests import signed_update
from coordinator.protocol.errors import AggregationError, ContributorError, VerificationError
from coordinator.protocol.round.chain_round import ChainRound
from coordinator.protocol.round.result import contributors_root, expected_weights, totals
from coordinator.protocol.signatures.eip712 import verify_statement
from coordinator.protocol.types import Address, ContributorEntry, Rule, SigningDomain, Wei


def broken_leaves(
    chain_round: ChainRound,
    entries: Sequence[ContributorEntry],
    rule: Rule,
    domain: SigningDomain,
    stakes: Mapping[Address, Wei],
) -> Iterator[Broken]:
    """Yield the rules that a round's contributors break.

    Parameters
    ----------
    stakes
        Bonds in wei when the round opened; accounts without a bond are absent.
    """
    artifact = f"contributors {chain_round.contributors_root.hex()}"
    if entries[0].leaf.round_id != chain_round.round_id:
        detail = f"leaves say round {entries[0].leaf.round_id}"
        yield artifact, "leaves must be those of this round", detail
    try:
        contributors_root(entries)
    except VerificationError as error:
        rule_text = "leaves must be in order of address, once each, their indices 0 to n - 1"
        yield artifact, rule_text, str(error)
    if len(entries) != chain_round.n:
        yield artifact, "n must count every leaf", f"{len(entries)} leaves, n = {chain_round.n}"
    yield from _broken_weights(artifact, entries, rule)
    examples, stake = totals(entries, rule)
    if (examples, stake) != (chain_round.total_examples, chain_round.total_stake_wei):
        detail = (
            f"found ({chain_round.total_examples}, {chain_round.total_stake_wei}), "
            f"expected ({examples}, {stake})"
        )
        yield artifact, "totals must be the sums over the leaves", detail
    for entry in entries:
        yield from _broken_leaf(entry, chain_round.model_root, domain, stakes)


def _broken_weights(
    artifact: str, entries: Sequence[ContributorEntry], rule: Rule
) -> Iterator[Broken]:
    rule_text = "weights must apportion the capped example counts"
    try:
        weights = expected_weights(entries, rule)
    except AggregationError as error:  # no shares at all, or one contributor twice
        yield artifact, rule_text, str(error)
        return
    given = [entry.leaf.weight for entry in entries]
    if given != weights:
        yield artifact, rule_text, f"found {given}, expected {weights}"


def _broken_leaf(
    entry: ContributorEntry,
    base_model: bytes,
    domain: SigningDomain,
    stakes: Mapping[Address, Wei],
) -> Iterator[Broken]:
    leaf = entry.leaf
    artifact = f"leaf {leaf.index} of {leaf.contributor}"
    bond = stakes.get(leaf.contributor, Wei(0))
    if leaf.stake_wei != bond or bond == 0:
        detail = f"found {leaf.stake_wei}, expected {bond}"
        yield artifact, "stake must be the bond when the round opened", detail
    try:
        verify_statement(domain, signed_update(entry, base_model))
    except ContributorError as error:
        yield artifact, "update must be signed by its contributor", str(error)
