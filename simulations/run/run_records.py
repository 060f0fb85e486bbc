"""The records in a run's folder: written after each round, completed at the end of the run.

They are built from durable state, so a run that was killed and resumed writes the same. Not
handled: the report (``simulations.report``), and the contents of a record
(:mod:`simulations.run.round_records`).
"""

import shutil
from collections.abc import Sequence

from coordinator.audit.verify.committed_blobs import committed_blobs
from coordinator.audit.verify.run_blobs import momentum_files
from coordinator.local.files import append
from coordinator.protocol.round.feed import RoundEvaluated, RoundFeed
from coordinator.protocol.types import RoundId
from coordinator.service.archive import decided_rounds
from coordinator.stores.disk import DiskStore
from coordinator.stores.run_folder import FileJournal, RunFolder
from simulations.report.coordinator import COORDINATOR
from simulations.report.records import (
    RoundRecord,
    RoundRecorded,
    contributors_json,
    metrics_csv,
)
from simulations.run.chain import SimulatedChain, claim_all, finalize_all
from simulations.run.convictions import coordinator_record
from simulations.run.files import seconds_on_disk, write_federation
from simulations.run.round_records import RoundRecorder


class RunRecords:
    """The records of the rounds decided so far, in memory and in the folder.

    Each record that is added is published: as the round's evaluation, then as its record.

    Attributes
    ----------
    rounds
        One record per decided round, in order.
    """

    def __init__(
        self,
        folder: RunFolder,
        chain: SimulatedChain,
        store: DiskStore,
        attempts: FileJournal,
        recorder: RoundRecorder,
        feed: RoundFeed,
    ) -> None:
        self._feed = feed
        self._folder, self._chain, self._store = folder, chain, store
        self._attempts, self._recorder = attempts, recorder
        seconds = seconds_on_disk(folder.root / "metrics.jsonl")
        numbers = range(1, decided_rounds(chain.ledger) + 1)
        self._unpublished: Sequence[RoundId] = [RoundId(n) for n in numbers if n not in seconds]
        self.rounds = [recorder.round_record(RoundId(n), seconds.get(n, 0.0)) for n in numbers]
        self._write_rounds()

    def append(self, round_id: RoundId, seconds: float) -> RoundRecord:
        """Write the record of a round that was just decided, publish it, and return it."""
        record = self._recorder.round_record(round_id, seconds)
        self.rounds.append(record)
        line = record.as_json() + "\n"
        append(self._folder.root / "metrics.jsonl", line.encode())
        self._publish(record)
        return record

    def publish_missed(self) -> None:
        """Publish the rounds that were decided and had no record: a crash came between."""
        missed, self._unpublished = self._unpublished, ()
        for round_id in missed:
            self._publish(self.rounds[round_id - 1])

    def _publish(self, record: RoundRecord) -> None:
        round_id = RoundId(record.round)
        reasons = tuple(self._recorder.reasons(round_id))
        self._feed.publish(round_id, RoundEvaluated(record.evaluated))
        self._feed.publish(round_id, RoundRecorded(record, reasons))

    def conclude(self) -> None:
        """Finalise all rounds, claim all rewards, and write the last files of the folder.

        The checksums are written after this.
        """
        finalize_all(self._chain)
        claim_all(self._chain, self._store)
        seconds = {record.round: record.seconds for record in self.rounds}
        self.rounds = [
            self._recorder.round_record(RoundId(number), seconds.get(number, 0.0))
            for number in range(1, decided_rounds(self._chain.ledger) + 1)
        ]
        self._write_rounds()
        root = self._folder.root
        shutil.rmtree(root / "pending", ignore_errors=True)  # commitments that were not revealed
        self._discard_uncommitted()
        record = coordinator_record(self._chain, self._attempts, len(self.rounds) + 1)
        self._folder.write(root / COORDINATOR, record)
        records = self._recorder.contributor_records(self.rounds)
        self._folder.write(root / "contributors.json", contributors_json(records).encode())
        write_federation(self._folder, self._chain, complete=True)

    def _discard_uncommitted(self) -> None:
        """Delete the blobs without a commitment on chain: of refused updates, of void rounds.

        They cannot be checked, so an audit of the finished run refuses them (ADR 146).
        """
        committed = committed_blobs(self._chain.ledger, self._store)
        if committed.is_complete:
            momenta = momentum_files(self._folder.root, self._chain.ledger)
            self._store.keep_only({*committed.rounds, *momenta})
        self._folder.discard_empty_folders()

    def _write_rounds(self) -> None:
        lines = "".join(record.as_json() + "\n" for record in self.rounds)
        root = self._folder.root
        self._folder.write(root / "metrics.jsonl", lines.encode())
        self._folder.write(root / "metrics.csv", metrics_csv(self.rounds).encode())
