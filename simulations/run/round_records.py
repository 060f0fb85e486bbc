"""Records of a run, built from chain, store and journal.

A record is always built from durable state, never from memory, so a round whose record was lost in
a crash gets the same one after a resume (except for its wall time).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from clients.training.trainer import evaluate, predict
from coordinator.ledger.run_figures import round_figures, slashed_wei
from coordinator.models.shared import SharedModel
from coordinator.ports import ArtifactStore, RoundJournal
from coordinator.protocol.commitments.documents import contributor_entries, reward_leaves
from coordinator.protocol.errors import BlobMissingError
from coordinator.protocol.numbers.fixed_point import dequantise
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.round.chain_round import ChainRound, RoundStatus
from coordinator.protocol.types import (
    Address,
    ContributorEntry,
    Int32Vector,
    JsonObject,
    RoundId,
    Rule,
)
from simulations.data.dataset import Dataset
from simulations.metrics import Metric, Predictions, measure
from simulations.report.records import ContributorRecord, RoundRecord
from simulations.run.chain import SimulatedChain

NODE_PREFIX = "node "


@dataclass(frozen=True)
class Tested:
    """A model's loss, accuracy and the experiment's metrics on the test set."""

    loss: float
    accuracy: float
    metrics: dict[str, float | None] = field(default_factory=dict)


class Tester:
    """Evaluates committed models on a data set's test part, in floats, for reports only.

    Every ``every`` rounds, and after round ``last``.
    """

    def __init__(
        self,
        model: SharedModel,
        manifest: Manifest,
        dataset: Dataset,
        store: ArtifactStore,
        *,
        every: int,
        last: int,
        metrics: Sequence[Metric] = (),
    ) -> None:
        self._model, self._manifest, self._dataset = model, manifest, dataset
        self._store, self._every, self._last = store, every, last
        self._metrics = metrics

    def __call__(self, round_: ChainRound) -> Tested | None:
        """Return the figures of a sealed round's model, ``None`` if it is not to be tested."""
        number = int(round_.round_id)
        if number % self._every and number != self._last:
            return None
        return self.test(self._store.get_vector(round_.new_model_root, self._manifest))

    def test(self, vector: Int32Vector) -> Tested:
        """Return the figures of the model with parameters ``vector`` (shape ``(d,)`` int32)."""
        self._model.load(dequantise(vector, self._manifest))
        loss, correct = evaluate(self._model.module, self._dataset.test_x, self._dataset.test_y)
        return Tested(loss, correct / len(self._dataset.test_y), self._measured())

    def _measured(self) -> dict[str, float | None]:
        if not self._metrics:
            return {}
        probabilities = predict(self._model.module, self._dataset.test_x)
        labels = self._dataset.test_y.view()
        for array in (probabilities, labels):
            array.setflags(write=False)
        predictions = Predictions(probabilities, labels, self._dataset.class_names)
        return measure(self._metrics, predictions)


TestModel = Callable[[ChainRound], Tested | None]
"""Returns the figures of a sealed round's model, ``None`` if it is not to be tested."""


@dataclass(frozen=True, slots=True)
class Trainer:
    """One contributor's fields in a run's records that are not on chain.

    ``examples`` of ``None`` is not known: the records then have the number that it last signed.
    """

    label: str
    behaviour: str
    examples: int | None


class RoundRecorder:
    """Builds the records of one run.

    Parameters
    ----------
    rule
        The aggregation rule of all rounds.
    trainers
        The contributors, by client.
    senders
        The client of each sender that a refusal may name: addresses, and Flower's nodes.
    test
        Tests a round's model.
    has_metrics
        Whether records have metrics; only if the experiment names some.
    """

    def __init__(
        self,
        rule: Rule,
        trainers: Sequence[Trainer],
        chain: SimulatedChain,
        store: ArtifactStore,
        journal: RoundJournal,
        senders: Mapping[str, int],
        test: TestModel,
        *,
        has_metrics: bool = False,
    ) -> None:
        self._rule, self._trainers = rule, trainers
        self._chain, self._store, self._journal = chain, store, journal
        self._senders = senders
        self._test, self._has_metrics = test, has_metrics

    def round_record(self, round_id: RoundId, seconds: float) -> RoundRecord:
        """Return the record of a decided round."""
        round_ = self._chain.ledger.round(round_id)
        notes = self._notes(round_id, round_.status)
        refusals = Counter(row["code"] for row in notes["refusals"])
        sealed = round_.status.has_result
        entries = self._entries(round_) if sealed else []
        tested = self._test(round_) if sealed else None
        return RoundRecord(
            **round_figures(round_, entries, self._rule),
            reason="" if sealed else self._void_reason(round_, notes),
            refused=sum(refusals.values()),
            refusals=dict(sorted(refusals.items())),
            test_loss=tested.loss if tested else None,
            test_accuracy=tested.accuracy if tested else None,
            seconds=seconds,
            metrics=(tested.metrics if tested else {}) if self._has_metrics else None,
        )

    def reasons(self, round_id: RoundId) -> list[str]:
        """Return the reason of each refused submission of a decided round, with its sender."""
        notes = self._notes(round_id, self._chain.ledger.round(round_id).status)
        return [
            f"{sender if client is None else f'client {client}'}: {row['message']}"
            for row in notes["refusals"]
            for sender in [str(row["sender"])]
            for client in [self._client_of(sender)]
        ]

    def contributor_records(self, rounds: Sequence[RoundRecord]) -> list[ContributorRecord]:
        """Return the record of every simulated contributor."""
        accepted: Counter[Address] = Counter()
        examples: dict[Address, int] = {}
        refusals: dict[int, Counter[str]] = {}
        for record in rounds:
            round_id = RoundId(record.round)
            if record.contributors_root:
                entries = self._entries(self._chain.ledger.round(round_id))
                accepted.update(entry.leaf.contributor for entry in entries)
                examples |= {entry.leaf.contributor: entry.leaf.examples for entry in entries}
            status = RoundStatus.from_word(record.status)
            for row in self._notes(round_id, status)["refusals"]:
                client = self._client_of(str(row["sender"]))
                if client is not None:
                    refusals.setdefault(client, Counter())[str(row["code"])] += 1
        earned, slashed = self._earned(), slashed_wei(self._chain.federation.events())
        return [
            self._contributor(client, address, accepted, examples, refusals, earned, slashed)
            for client, address in enumerate(self._chain.identities.addresses)
        ]

    def _contributor(
        self,
        client: int,
        address: Address,
        accepted: Mapping[Address, int],
        examples: Mapping[Address, int],
        refusals: Mapping[int, Counter[str]],
        earned: Mapping[Address, int],
        slashed: Mapping[Address, int],
    ) -> ContributorRecord:
        state = self._chain.federation.account(address)
        trainer = self._trainers[client]
        return ContributorRecord(
            client=client,
            label=trainer.label,
            address=address,
            behaviour=trainer.behaviour,
            examples=examples.get(address, 0) if trainer.examples is None else trainer.examples,
            stake_wei=int(state.bond_wei),
            slashed_wei=slashed.get(address, 0),
            earned_wei=earned.get(address, 0),
            claimed_wei=int(state.claimed_wei),
            accepted=accepted.get(address, 0),
            refusals=dict(sorted(refusals.get(client, Counter()).items())),
        )

    def _entries(self, round_: ChainRound) -> list[ContributorEntry]:
        document = self._store.get_document("contributors", round_.contributors_root)
        return contributor_entries(document)

    def _notes(self, round_id: RoundId, status: RoundStatus) -> JsonObject:
        """Return the coordinator's notes of a decided round.

        A void round may have none: if a fraud was proven, and the coordinator was killed before it
        noted that. Then the chain's reason is the only one.
        """
        try:
            return self._journal.get(round_id)
        except BlobMissingError:
            if status is not RoundStatus.VOID:
                raise
            return {"reason": "", "refusals": []}

    def _void_reason(self, round_: ChainRound, notes: JsonObject) -> str:
        """Return the coordinator's own reason, in full; without one, the offence on chain."""
        if round_.status is not RoundStatus.VOID:
            return ""
        return str(notes["reason"]) or self._chain.ledger.void_reason(round_.round_id)

    def _client_of(self, sender: str) -> int | None:
        """Return the client of a sender (an address or a Flower node), ``None`` if unknown."""
        return self._senders.get(sender.removesuffix(" (unproven)"))

    def _earned(self) -> dict[Address, int]:
        last = self._chain.ledger.head().last_settled
        if not last:
            return {}
        root = self._chain.ledger.round(last).rewards_root
        leaves = reward_leaves(self._store.get_document("rewards", root))
        return {leaf.contributor: int(leaf.cumulative_wei) for leaf in leaves}
