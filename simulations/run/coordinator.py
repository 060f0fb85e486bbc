"""The coordinator of a run: its store, its round service; dishonest where the experiment is."""

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
    """Where a run's coordinator writes: artifacts, notes, and what the contract refused it."""

    artifacts: DiskStore
    journal: FileJournal
    attempts: FileJournal


def artifact_store(experiment: Experiment, folder: RunFolder) -> DiskStore:
    """Return the run's store; one that keeps updates to itself if that is the attack."""
    if any(attack.keeps_updates for attack in experiment.coordinator_attacks):
        return WithholdingStore(folder.blobs, folder.root / "withheld")
    return DiskStore(folder.blobs)


def public_store(folder: RunFolder) -> DiskStore:
    """Return the run's artifacts as anyone can read them; a withheld update is not among them."""
    return DiskStore(folder.blobs, read_only=True)


def publish(store: DiskStore, agreement: PublishedAgreement) -> bytes:
    """Store what was agreed before the first round; return the initial model's root."""
    return publish_plan(store, agreement.plan, agreement.initial_model, agreement.documents)


def attacker_of(experiment: Experiment, people: Identities) -> Attacker:
    """Return the attacker of an experiment; without attacks it attacks nothing."""
    coordinator = Address(people.coordinator.address)
    return Attacker.of(experiment.coordinator_attacks, people.addresses, coordinator)


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
    rest = (stores.artifacts, stores.journal, scorer, agreement.plan, feed)
    if not experiment.coordinator_attacks:
        return RoundService(ledger, *rest)
    ledger = InsistentLedger(
        chain.federation,
        chain.identities.coordinator,
        chain.ledger,
        attacker,
        stores.attempts,
        lambda: chain.node.next_timestamp,
    )
    return DishonestService(ledger, *rest, attacker=attacker)
