"""What a run tells its listener: one feed, complete in spite of a crash."""

from pathlib import Path

import pytest
from fedproof_command import write_tiny

from coordinator.protocol.round.events import RoundOpened, RoundSealed
from coordinator.protocol.round.feed import FeedItem, RoundEvaluated
from simulations.experiment.load import load_experiment
from simulations.report.records import RoundRecorded, read_rounds
from simulations.run.simulation import RunOptions, run_experiment


class Heard:
    """Keeps what it hears; ends the process's run, as a crash would, when a round is sealed."""

    def __init__(self, crash_at: int = 0) -> None:
        self.items: list[FeedItem] = []
        self.crash_at = crash_at

    def say(self, text: str) -> None:
        """Ignore."""

    def observe(self, item: FeedItem) -> None:
        self.items.append(item)
        if isinstance(item.event, RoundSealed) and item.round_id == self.crash_at:
            raise KeyboardInterrupt

    def rounds_with(self, kind: type) -> list[int]:
        return [int(item.round_id) for item in self.items if isinstance(item.event, kind)]


def test_the_feed_has_every_round_once_in_spite_of_a_crash(tmp_path: Path) -> None:
    experiment = load_experiment(write_tiny(tmp_path))
    run, options = tmp_path / "run", RunOptions(workers=1)
    rounds = list(range(1, experiment.rounds + 1))
    first, second = Heard(crash_at=2), Heard()
    with pytest.raises(KeyboardInterrupt):
        run_experiment(experiment, run, options, first)
    assert first.rounds_with(RoundOpened) == [1, 2]
    assert first.rounds_with(RoundEvaluated) == [1]
    run_experiment(experiment, run, options, second)
    assert second.rounds_with(RoundOpened) == rounds[2:]
    for kind in (RoundEvaluated, RoundRecorded):
        assert first.rounds_with(kind) + second.rounds_with(kind) == rounds
    on_disk = {record.round: record for record in read_rounds(run / "metrics.jsonl")}
    for item in (*first.items, *second.items):
        if isinstance(item.event, RoundEvaluated):
            assert item.event.metrics == on_disk[item.round_id].evaluated
            assert item.event.metrics["test_accuracy"] is not None
