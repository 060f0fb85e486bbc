"""ATTACKS: a coordinator that cheats in the rounds the experiment names, to show that it is caught.

It cheats where a real one would: between what it computed and what it stores and commits. The
service has two seams for that (``drafted_result``, ``drafted_settlement``); the rest is a ledger
that insists and a store that keeps an update to itself (``dishonest_ports``). Everything it does
follows from the experiment, so an attack repeats to the last block.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from coordinator.ports import ArtifactStore, Ledger, RoundJournal, Scorer
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.errors import AggregationError, ConfigError
from coordinator.protocol.numbers.weights import apportion
from coordinator.protocol.round.chain_round import ChainRound
from coordinator.protocol.round.feed import RoundFeed
from coordinator.protocol.round.result import apply_rule
from coordinator.protocol.rules.rule import Weighting, capped_examples
from coordinator.protocol.types import (
    Address,
    ContributorEntry,
    Int32Vector,
    JsonObject,
    RewardLeaf,
    RoundId,
    RoundInput,
    Signed,
    UpdateMessage,
    Wei,
    address_bytes,
)
from coordinator.service.plan import FederationPlan
from coordinator.service.round_service import RoundService
from coordinator.service.settling import ScoredRound
from simulations.attacks.dishonest_ports import Attacker, WithholdingStore
from simulations.experiment.attacks import (
    AbandonRound,
    CountTwiceAttack,
    DropWeightAttack,
    PaySelfAttack,
    ShiftAttack,
    UnsignedLeafAttack,
    WithholdAttack,
)


class DishonestService(RoundService):
    """A round service that seals and settles something else in the rounds it attacks."""

    def __init__(
        self,
        ledger: Ledger,
        store: ArtifactStore,
        journal: RoundJournal,
        scorer: Scorer,
        plan: FederationPlan,
        feed: RoundFeed | None = None,
        *,
        attacker: Attacker,
    ) -> None:
        super().__init__(ledger, store, journal, scorer, plan, feed)
        self._attacker = attacker
        self._forge = _Forge(plan, store, attacker)

    def submit(
        self,
        signed: Signed[UpdateMessage],
        vector: Int32Vector,
        metrics: JsonObject,
        salt: bytes | None = None,
    ) -> None:
        """Take an update; the one to be withheld goes where nobody else finds it."""
        attack = self._attacker.attack(self.state.round_id)
        if isinstance(attack, WithholdAttack):
            assert isinstance(self._store, WithholdingStore)
            if signed.signer == self._attacker.clients[attack.victim]:
                self._store.withhold(signed.statement.update)
        super().submit(signed, vector, metrics, salt)

    def drafted_result(self, result: RoundInput) -> RoundInput:
        """Return what is sealed instead of the result."""
        return self._forge.result(self.state.round_id, result)

    def drafted_settlement(self, chain_round: ChainRound, scored: ScoredRound) -> ScoredRound:
        """Return what is settled instead."""
        return self._forge.settlement(chain_round.round_id, scored)

    def earned_before(self, parent: RoundId) -> Mapping[Address, Wei]:
        """Return what everyone had earned, without what the coordinator gave itself."""
        earned = super().earned_before(parent)
        return {who: wei for who, wei in earned.items() if who != self._attacker.coordinator}


class _Forge:
    """Makes the false results; every forgery is consistent but for the one thing it is about."""

    def __init__(self, plan: FederationPlan, store: ArtifactStore, attacker: Attacker) -> None:
        self._plan, self._store, self._attacker = plan, store, attacker
        self._forgeries: Mapping[type[Any], Callable[[RoundInput, Any], RoundInput]] = {
            ShiftAttack: self._shift,
            DropWeightAttack: self._drop_weight,
            UnsignedLeafAttack: self._replace_update,
            CountTwiceAttack: self._count_twice,
            AbandonRound: _abandon,
        }

    def result(self, round_id: RoundId, result: RoundInput) -> RoundInput:
        attack = self._attacker.attack(round_id)
        forge = self._forgeries.get(type(attack))
        return forge(result, attack) if forge else result

    def settlement(self, round_id: RoundId, scored: ScoredRound) -> ScoredRound:
        if not isinstance(self._attacker.attack(round_id), PaySelfAttack):
            return scored
        return self._pay_self(scored)

    def _shift(self, result: RoundInput, attack: ShiftAttack) -> RoundInput:
        if attack.parameter >= result.new_model.size:
            raise ConfigError(
                f"coordinator_attacks: parameter = {attack.parameter}, but the model has "
                f"{result.new_model.size} parameters"
            )
        shifted = result.new_model.copy()
        shifted[attack.parameter] += attack.amount
        root = parameter_root(shifted, self._plan.manifest)
        return replace(result, new_model=shifted, new_model_root=root)

    def _drop_weight(self, result: RoundInput, attack: DropWeightAttack) -> RoundInput:
        place = self._victim(result, attack.victim)
        heir = (place + 1) % len(result.entries)
        weights = [entry.leaf.weight for entry in result.entries]
        weights[heir] += weights[place]
        weights[place] = 0
        return self._reaggregated(result, _weighted(result.entries, weights), result.updates)

    def _replace_update(self, result: RoundInput, attack: UnsignedLeafAttack) -> RoundInput:
        place = self._victim(result, attack.victim)
        other = -result.updates[place]
        root = parameter_root(other, self._plan.manifest)
        self._store.put_vector(other, self._plan.manifest, root)
        entries, updates = list(result.entries), list(result.updates)
        leaf = replace(entries[place].leaf, update_root=root)
        entries[place], updates[place] = replace(entries[place], leaf=leaf), other
        return self._reaggregated(result, entries, updates)

    def _count_twice(self, result: RoundInput, attack: CountTwiceAttack) -> RoundInput:
        place = self._victim(result, attack.victim)
        other = place + 1 if place + 1 < len(result.entries) else place - 1
        entries, updates = list(result.entries), list(result.updates)
        twin = replace(entries[place].leaf, index=entries[other].leaf.index)
        entries[other], updates[other] = replace(entries[place], leaf=twin), updates[place]
        uniform = self._plan.rule.weighting == Weighting.UNIFORM
        shares = [
            1 if uniform else capped_examples(self._plan.rule, entry.leaf.examples)
            for entry in entries
        ]
        weights = apportion(shares, [entry.leaf.contributor for entry in result.entries])
        return self._reaggregated(result, _weighted(entries, weights), updates)

    def _pay_self(self, scored: ScoredRound) -> ScoredRound:
        """Move the best-paid share of the round; the sum stays what the contract checks."""
        best = max(scored.scores, key=lambda leaf: leaf.score).contributor
        total = sum(leaf.score for leaf in scored.scores)
        score = next(leaf.score for leaf in scored.scores if leaf.contributor == best)
        loot = scored.paid_wei * score // total if total else 0
        leaves = [
            replace(leaf, cumulative_wei=Wei(leaf.cumulative_wei - loot))
            if leaf.contributor == best
            else leaf
            for leaf in scored.rewards
        ]
        leaves.append(RewardLeaf(self._attacker.coordinator, Wei(loot)))
        leaves.sort(key=lambda leaf: address_bytes(leaf.contributor))
        return replace(scored, rewards=leaves)

    def _victim(self, result: RoundInput, client: int) -> int:
        """Return the victim's place in the round; the first if it took no part."""
        address = self._attacker.clients[client]
        who = [entry.leaf.contributor for entry in result.entries]
        return who.index(address) if address in who else 0

    def _reaggregated(
        self,
        result: RoundInput,
        entries: Sequence[ContributorEntry],
        updates: Sequence[Int32Vector],
    ) -> RoundInput:
        weights = [entry.leaf.weight for entry in entries]
        rule = self._plan.rule
        applied = apply_rule(rule, result.base_model, updates, weights, result.velocity)
        root = parameter_root(applied.model, self._plan.manifest)
        return replace(
            result, entries=entries, updates=updates, new_model=applied.model, new_model_root=root
        )


def _weighted(
    entries: Sequence[ContributorEntry], weights: Sequence[int]
) -> list[ContributorEntry]:
    return [
        replace(entry, leaf=replace(entry.leaf, weight=weight))
        for entry, weight in zip(entries, weights, strict=True)
    ]


def _abandon(_result: RoundInput, _attack: AbandonRound) -> RoundInput:
    raise AggregationError("abandoned")
