"""Rounds to dispute, made without a chain: honest ones, and ones with a value falsified."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from eth_account import Account
from eth_account.signers.local import LocalAccount

from coordinator.protocol.commitments.digests import (
    contributor_leaf_hash,
    metrics_hash,
    reward_leaf_hash,
    rule_hash,
    score_leaf_hash,
    signature_hash,
)
from coordinator.protocol.commitments.parameter_tree import TreeLayout, parameter_root
from coordinator.protocol.commitments.standard_tree import StandardTree
from coordinator.protocol.disputes import DisputedRound
from coordinator.protocol.disputes.fault import EXAMPLES_SCORING
from coordinator.protocol.round.chain_round import ChainRound, RoundStatus
from coordinator.protocol.round.incentives import accumulate, split_budget
from coordinator.protocol.round.result import apply_rule, build_entries, totals
from coordinator.protocol.rules.base import capped_examples
from coordinator.protocol.signatures.eip712 import sign_statement
from coordinator.protocol.types import (
    Address,
    ContributorEntry,
    Int32Vector,
    RewardLeaf,
    RoundId,
    Rule,
    ScoreLeaf,
    Signed,
    SigningDomain,
    UpdateMessage,
    Wei,
    address_bytes,
)

FEDAVG, MEDIAN, TRIMMED_MEAN = 1, 2, 3
DOMAIN = SigningDomain(1337, Address("0x" + "11" * 20))
MIN_STAKE = 1_000
INT32_MAX = 2**31 - 1


def account(number: int) -> LocalAccount:
    made: LocalAccount = Account.from_key(number.to_bytes(32, "big"))
    return made


def accounts(count: int, first: int = 5_000) -> list[LocalAccount]:
    """Accounts in order of address."""
    made = [account(first + i) for i in range(count)]
    return sorted(made, key=lambda a: address_bytes(a.address))


def make_rule(**changes: Any) -> Rule:
    """A rule for 5 parameters in chunks of 2, by examples capped at 100."""
    fields: dict[str, Any] = {
        "version": 1,
        "kind": FEDAVG,
        "weighting": 1,
        "num_byzantine": 0,
        "examples_cap": 100,
        "server_lr_q16": 1 << 16,
        "server_momentum_q16": 0,
        "manifest_hash": bytes(range(32)),
        "dimension": 5,
        "chunk_values": 2,
        "scale_bits": 20,
        "min_contributors": 1,
        "norm_bound_q": 0,
        "scoring_hash": EXAMPLES_SCORING,
    }
    if changes.get("kind", FEDAVG) != FEDAVG:
        fields["weighting"] = 2
    return Rule(**{**fields, **changes})


def layout_of(rule: Rule) -> TreeLayout:
    return TreeLayout(rule.manifest_hash, rule.chunk_values, rule.dimension)


def sign(
    signer: LocalAccount, domain: SigningDomain, number: int, base: bytes, update: bytes, count: int
) -> Signed[UpdateMessage]:
    message = UpdateMessage(RoundId(number), base, update, count, metrics_hash({"loss": count}))
    return sign_statement(domain, message, bytes(signer.key))


@dataclass
class Draft:
    """A round about to be committed; every field may be changed before :meth:`disputed`."""

    number: int
    domain: SigningDomain
    rule: Rule
    members: list[Address]
    bonds: dict[Address, Wei]
    base_model: Int32Vector
    updates: list[Int32Vector]
    entries: list[ContributorEntry]
    new_model: Int32Vector
    total_examples: int
    total_stake: int
    budget: int
    scores: list[ScoreLeaf]
    total_score: int
    rewards: list[RewardLeaf]
    paid: int
    min_stake: int = MIN_STAKE
    member_count: int | None = None
    parent_member_count: int = 0
    parent_rewards: list[RewardLeaf] = field(default_factory=list)
    model_root: bytes | None = None
    new_model_root: bytes | None = None

    def change_leaf(self, position: int, **changes: Any) -> None:
        entry = self.entries[position]
        self.entries[position] = replace(entry, leaf=replace(entry.leaf, **changes))

    def change_score(self, position: int, **changes: Any) -> None:
        self.scores[position] = replace(self.scores[position], **changes)

    def disputed(self, *, settled: bool = True) -> DisputedRound:
        """What is committed and published."""
        layout = layout_of(self.rule)
        below = [reward_leaf_hash(leaf) for leaf in self.parent_rewards]
        committed = ChainRound(
            round_id=RoundId(self.number),
            status=RoundStatus.SETTLED if settled else RoundStatus.SEALED,
            model_root=self.model_root or parameter_root(self.base_model, layout),
            rule_hash=rule_hash(self.rule),
            member_count=len(self.members) if self.member_count is None else self.member_count,
            budget_wei=Wei(self.budget),
            contributors_root=StandardTree(
                [contributor_leaf_hash(e.leaf) for e in self.entries]
            ).root,
            n=len(self.entries),
            total_examples=self.total_examples,
            total_stake_wei=Wei(self.total_stake),
            new_model_root=self.new_model_root or parameter_root(self.new_model, layout),
            settled_at=int(settled),
        )
        if settled:
            committed = replace(
                committed,
                scores_root=StandardTree([score_leaf_hash(leaf) for leaf in self.scores]).root,
                total_score=self.total_score,
                rewards_root=StandardTree([reward_leaf_hash(leaf) for leaf in self.rewards]).root,
                paid_wei=Wei(self.paid),
            )
        parent = ChainRound(
            RoundId(self.number - 1),
            RoundStatus.SETTLED,
            member_count=self.parent_member_count,
            rewards_root=StandardTree(below).root,
        )
        return DisputedRound(
            committed=committed,
            parent=parent,
            domain=self.domain,
            min_stake_wei=Wei(self.min_stake),
            members=self.members,
            bonds=self.bonds,
            rule=self.rule,
            entries=tuple(self.entries),
            updates=tuple(self.updates),
            base_model=self.base_model,
            new_model=self.new_model,
            scores=tuple(self.scores) if settled else None,
            rewards=tuple(self.rewards) if settled else None,
            parent_rewards=tuple(self.parent_rewards),
        )


def honest_draft(
    signers: Sequence[LocalAccount],
    updates: Sequence[Int32Vector],
    examples: Sequence[int],
    *,
    rule: Rule | None = None,
    base_model: Int32Vector | None = None,
    number: int = 1,
    domain: SigningDomain = DOMAIN,
    members: Sequence[Address] | None = None,
    bonds: dict[Address, Wei] | None = None,
    budget: int = 700,
    parent_members: Sequence[Address] = (),
    parent_rewards: Sequence[RewardLeaf] = (),
    new_model: Int32Vector | None = None,
) -> Draft:
    """What an honest coordinator commits to; signers in order of address.

    ``new_model`` is for rounds that have no right one.
    """
    rule = rule or make_rule()
    base = np.zeros(rule.dimension, np.int32) if base_model is None else base_model
    layout = layout_of(rule)
    base_root = parameter_root(base, layout)
    names = [Address(signer.address) for signer in signers]
    everyone = list(members or names)
    stakes = bonds or {who: Wei(MIN_STAKE + i) for i, who in enumerate(everyone)}
    signed = {
        who: sign(signer, domain, number, base_root, parameter_root(update, layout), count)
        for who, signer, update, count in zip(names, signers, updates, examples, strict=True)
    }
    metrics = {who: {"loss": count} for who, count in zip(names, examples, strict=True)}
    entries = build_entries(RoundId(number), signed, metrics, stakes, rule)
    weights = [entry.leaf.weight for entry in entries]
    if new_model is None:
        new_model = apply_rule(rule, base, list(updates), weights, None).model
    scores = [
        ScoreLeaf(RoundId(number), e.leaf.contributor, capped_examples(rule, e.leaf.examples))
        for e in entries
    ]
    split = split_budget(Wei(budget), {leaf.contributor: leaf.score for leaf in scores})
    previous = {leaf.contributor: leaf.cumulative_wei for leaf in parent_rewards}
    total_examples, total_stake = totals(entries, rule)
    return Draft(
        number=number,
        domain=domain,
        rule=rule,
        members=everyone,
        bonds=dict(stakes),
        base_model=base,
        updates=list(updates),
        entries=entries,
        new_model=new_model,
        total_examples=total_examples,
        total_stake=total_stake,
        budget=budget,
        scores=scores,
        total_score=sum(leaf.score for leaf in scores),
        rewards=accumulate(previous, everyone, split.shares),
        paid=split.paid_wei,
        parent_member_count=len(parent_members),
        parent_rewards=list(parent_rewards),
    )


def forged(entry: ContributorEntry, signature: bytes) -> ContributorEntry:
    """The same leaf with another signature, and the hash of it."""
    hashed = signature_hash(metrics_hash(entry.metrics), signature)
    return ContributorEntry(replace(entry.leaf, signature_hash=hashed), signature, entry.metrics)
