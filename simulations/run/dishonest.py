"""ATTACKS: a coordinator that cheats in given rounds, to test that every fraud is detected.

It changes results after they are computed and before they are stored and committed, as a real one
would: by overridden methods of the round service (ADR 81), a ledger that also sends transactions
which the contract refuses, and a store that withholds updates. The attacks are in
:mod:`simulations.attacks.coordinator`. They follow from the experiment alone, so a run with them
repeats to the same block hashes.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eth_account.signers.local import LocalAccount

from contracts.binding.federation import Federation
from coordinator.ledger.contract_ledger import ChainLedger
from coordinator.ports import ArtifactStore, Ledger, RoundJournal, Scorer
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.errors import BlobMissingError, ConfigError, TransactionRevertedError
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.round.chain_round import ChainRound, Seal
from coordinator.protocol.round.feed import RoundFeed
from coordinator.protocol.round.result import apply_rule
from coordinator.protocol.types import (
    Address,
    ContributorEntry,
    Int32Vector,
    JsonObject,
    RoundId,
    RoundInput,
    Rule,
    ScoredRound,
    Signed,
    UpdateMessage,
    Wei,
)
from coordinator.service.plan import FederationPlan
from coordinator.service.round_service import RoundService
from coordinator.stores.disk import DiskStore
from coordinator.stores.run_folder import FileJournal
from simulations.attacks.coordinator import CoordinatorAttack
from simulations.attacks.coordinator.attacker import Attacker, authors_code


@dataclass(frozen=True)
class ForgingContext:
    """A :class:`~simulations.attacks.coordinator.CoordinatorContext` with the service's own parts.

    Attributes
    ----------
    plan
        The federation's rule and manifest.
    store
        The coordinator's artifact store.
    clients
        Addresses of the contributors, by client.
    coordinator
        The coordinator's address.
    """

    plan: FederationPlan
    store: ArtifactStore
    clients: Sequence[Address]
    coordinator: Address

    @property
    def rule(self) -> Rule:
        """The federation's rule."""
        return self.plan.rule

    def root_of(self, vector: Int32Vector) -> bytes:
        """Return the root of a vector, 32 bytes."""
        return parameter_root(vector, self.plan.manifest)

    def keep(self, vector: Int32Vector) -> bytes:
        """Put a vector into the artifact store; return its root."""
        root = self.root_of(vector)
        self.store.put_vector(vector, self.plan.manifest, root)
        return root

    def place_of(self, result: RoundInput, client: int) -> int:
        """Return a client's position among a round's entries, 0 if it took no part."""
        address = self.clients[client]
        contributors = [entry.leaf.contributor for entry in result.entries]
        return contributors.index(address) if address in contributors else 0

    def reaggregated(
        self,
        result: RoundInput,
        entries: Sequence[ContributorEntry],
        updates: Sequence[Int32Vector],
    ) -> RoundInput:
        """Return the rule's result for other entries and updates.

        Raises
        ------
        AggregationError
            If the rule cannot be applied to them.
        """
        weights = [entry.leaf.weight for entry in entries]
        rule = self.plan.rule
        applied = apply_rule(rule, result.base_model, updates, weights, result.velocity)
        root = self.root_of(applied.model)
        return replace(
            result, entries=entries, updates=updates, new_model=applied.model, new_model_root=root
        )


class DishonestService(RoundService):
    """A round service that seals and settles false results in the rounds that it attacks."""

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
        self._context = ForgingContext(plan, store, attacker.clients, attacker.coordinator)

    def submit(
        self,
        signed: Signed[UpdateMessage],
        vector: Int32Vector,
        metrics: JsonObject,
        salt: bytes | None = None,
    ) -> None:
        """Accept an update; a withheld one is not published."""
        attack = self._attacker.attack(self.state.round_id)
        if attack is not None:
            with authors_code(attack, "withholds"):
                withheld = attack.withholds(signed.signer, self._context)
            if withheld:
                assert isinstance(self._store, WithholdingStore)
                self._store.withhold(signed.statement.update)
        super().submit(signed, vector, metrics, salt)

    def drafted_result(self, result: RoundInput) -> RoundInput:
        """Return the result to seal, changed by the round's attack."""
        attack = self._attacker.attack(self.state.round_id)
        if attack is not None:
            with authors_code(attack, "change_result"):
                result = attack.change_result(result, self._context)
        return result

    def drafted_settlement(self, chain_round: ChainRound, scored: ScoredRound) -> ScoredRound:
        """Return the scores and rewards to settle, changed by the round's attack."""
        attack = self._attacker.attack(chain_round.round_id)
        if attack is not None:
            with authors_code(attack, "change_settlement"):
                scored = attack.change_settlement(scored, self._context)
        return scored

    def earned_before(self, parent: RoundId) -> Mapping[Address, Wei]:
        """Return all earlier rewards, without those that the coordinator gave itself."""
        earned = super().earned_before(parent)
        return {who: wei for who, wei in earned.items() if who != self._attacker.coordinator}


class WithholdingStore(DiskStore):
    """An artifact store that keeps withheld vectors in a private folder."""

    def __init__(self, root: Path, private: Path) -> None:
        super().__init__(root)
        self._private = DiskStore(private)
        self._withheld: set[bytes] = set()

    def withhold(self, root: bytes) -> None:
        """Never publish the vector of this root."""
        self._withheld.add(root)

    def put_vector(self, vector: Int32Vector, manifest: Manifest, root: bytes) -> None:
        """Queue a vector for writing, a withheld one to the private folder."""
        if root in self._withheld:
            self._private.put_vector(vector, manifest, root)
        else:
            super().put_vector(vector, manifest, root)

    def get_vector(self, root: bytes, manifest: Manifest) -> Int32Vector:
        """Return a vector, withheld or not."""
        try:
            return super().get_vector(root, manifest)
        except BlobMissingError:
            return self._private.get_vector(root, manifest)

    def keep_only(self, names: Collection[str]) -> None:
        """Delete every blob, withheld or not, whose file name is not among ``names``."""
        self._private.keep_only(names)
        super().keep_only(names)

    def sync(self) -> None:
        """Wait until everything queued is on the disk."""
        self._private.sync()
        super().sync()

    def close(self) -> None:
        """Finish writing and stop the threads."""
        self._private.close()
        super().close()


class InsistentLedger(ChainLedger):
    """A ledger that also sends seals which the contract must refuse, and records the refusals.

    Parameters
    ----------
    honest
        Sends an honest coordinator's transactions.
    attempts
        Refusals, one per round; a round with one is not tried again.
    """

    def __init__(
        self,
        federation: Federation,
        account: LocalAccount,
        honest: ChainLedger,
        attacker: Attacker,
        attempts: FileJournal,
        next_time: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(federation, account, next_time=next_time)
        self._honest, self._attacker, self._attempts = honest, attacker, attempts

    def seal_round(self, round_id: RoundId, seal: Seal) -> None:
        """Seal as an honest coordinator would, and also too early, or a second time."""
        attack = self._attacker.attack(round_id)
        if attack is None:
            self._honest.seal_round(round_id, seal)
            return
        with authors_code(attack, "seal_before"):
            before = attack.seal_before(seal.new_model_root)
        if before is not None:
            self._try_to_seal(attack, replace(seal, new_model_root=before))
        self._honest.seal_round(round_id, seal)
        base_root = self.round(round_id).model_root
        with authors_code(attack, "seal_after"):
            after = attack.seal_after(base_root)
        if after is not None:
            self._try_to_seal(attack, replace(seal, new_model_root=after))

    def _try_to_seal(self, attack: CoordinatorAttack, seal: Seal) -> None:
        round_id = RoundId(attack.round)
        try:
            self._attempts.get(round_id)
            return
        except BlobMissingError:
            pass
        try:
            super().seal_round(round_id, seal)
        except TransactionRevertedError as refused:
            note = {"round": attack.round, "attack": attack.kind, "refused": refused.reason}
            self._attempts.put(round_id, note)
            return
        raise ConfigError(
            f"coordinator_attacks: the contract let {attack.kind} of round {attack.round} pass; "
            "does chain.min_open_s leave room for it?"
        )
