"""The coordinator of a run: store and round service, dishonest if the experiment has attacks."""

from dataclasses import dataclass

from coordinator.ports import Ledger
from coordinator.protocol.round.feed import RoundFeed
from coordinator.protocol.types import Address
from coordinator.service.archive import publish_plan
from coordinator.service.round_service import RoundService
from coordinator.service.scorers import scorer_from
from coordinator.service.trial import try_outside_code
from coordinator.stores.disk import DiskStore
from coordinator.stores.run_folder import FileJournal, RunFolder
from simulations.attacks.coordinator.attacker import Attacker
from simulations.experiment.schema import Experiment
from simulations.run.agreement import Agreement, PublishedAgreement
from simulations.run.chain import SimulatedChain
from simulations.run.dishonest import (
    DishonestService,
    InsistentLedger,
    WithholdingStore,
)
from simulations.run.identities import Identities


@dataclass(frozen=True)
class RunStores:
    """The coordinator's storage: artifacts, notes on rounds, and refused transactions."""

    artifacts: DiskStore
    journal: FileJournal
    attempts: FileJournal


def artifact_store(experiment: Experiment, folder: RunFolder) -> DiskStore:
    """Return the run's store; one that withholds updates if an attack does that."""
    if any(attack.keeps_updates for attack in experiment.coordinator_attacks):
        return WithholdingStore(folder.blobs, folder.root / "withheld")
    return DiskStore(folder.blobs)


def public_store(folder: RunFolder) -> DiskStore:
    """Return the run's public artifacts, which are without withheld updates."""
    return DiskStore(folder.blobs, read_only=True)


def publish(store: DiskStore, agreement: PublishedAgreement) -> bytes:
    """Store the agreement and the initial model; return the initial model's root."""
    return publish_plan(store, agreement.plan, agreement.initial_model, agreement.documents)


def attacker_of(experiment: Experiment, identities: Identities) -> Attacker:
    """Return the coordinator's attacks by round; none for an experiment without attacks."""
    coordinator = Address(identities.coordinator.address)
    return Attacker.of(experiment.coordinator_attacks, identities.addresses, coordinator)


def round_service(
    experiment: Experiment,
    agreement: Agreement,
    chain: SimulatedChain,
    stores: RunStores,
    attacker: Attacker,
    feed: RoundFeed,
) -> RoundService:
    """Return the round service, dishonest if the experiment has attacks.

    Raises
    ------
    OutsideCodeError
        If a rule or a score from outside the package cannot be applied.
    """
    try_outside_code(agreement.plan.rule, agreement.scoring)
    ledger: Ledger = chain.ledger
    scorer = scorer_from(agreement.scoring, stores.artifacts)
    arguments = (stores.artifacts, stores.journal, scorer, agreement.plan, feed)
    if not experiment.coordinator_attacks:
        return RoundService(ledger, *arguments)
    ledger = InsistentLedger(
        chain.federation,
        chain.identities.coordinator,
        chain.ledger,
        attacker,
        stores.attempts,
        lambda: chain.node.next_timestamp,
    )
    return DishonestService(ledger, *arguments, attacker=attacker)
