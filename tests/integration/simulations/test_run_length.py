"""A run can be made longer, in spite of crashes, and never shorter."""

from pathlib import Path

import pytest
from fedproof_command import write_tiny

from coordinator.audit.verify.any_folder import verify
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.round.events import RoundOpened, RoundSealed
from coordinator.protocol.round.feed import FeedItem
from simulations.experiment.load import load_experiment
from simulations.report.progress import Silence
from simulations.run.result import Run
from simulations.run.simulation import RunOptions, run_experiment

SHORT, LONG = 2, 4


class CrashAt(Silence):
    """Ends the run as a crash would, at the first event of a kind in a round."""

    def __init__(self, kind: type, number: int) -> None:
        self.kind, self.number = kind, number

    def observe(self, item: FeedItem) -> None:
        if isinstance(item.event, self.kind) and item.round_id == self.number:
            raise KeyboardInterrupt


def run_of(folder: Path, rounds: int, listener: Silence | None = None, *more: str) -> Run:
    experiment = load_experiment(folder / "tiny.toml", [f"rounds={rounds}", *more])
    options = RunOptions(workers=1, extend=True)
    return run_experiment(experiment, folder / "run", options, listener)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tiny(tmp_path)
    return tmp_path


def roots(run: Run) -> list[str]:
    return [record.model_root for record in run.rounds]


def test_a_longer_run_has_the_models_of_one_begun_so_long(folder: Path) -> None:
    short = run_of(folder, SHORT)
    assert (len(short.rounds), short.resumed_from) == (SHORT, 0)
    for kind, number in ((RoundOpened, 3), (RoundSealed, 4)):
        with pytest.raises(KeyboardInterrupt):
            run_of(folder, LONG, CrashAt(kind, number))
        assert not (folder / "run" / "SHA256SUMS").exists()
        assert verify(folder / "run", partial=True).ok
    longer = run_of(folder, LONG)
    assert len(longer.rounds) == LONG
    assert {record.status for record in longer.rounds} == {"final"}
    assert verify(folder / "run").ok
    assert sum(one.claimed_wei for one in longer.contributors) == sum(
        record.paid_wei for record in longer.rounds
    )
    assert run_of(folder, LONG).resumed_from == LONG  # nothing left to do
    assert run_of(folder, LONG - 1).resumed_from == LONG

    (folder / "whole").mkdir()
    write_tiny(folder / "whole")
    assert roots(run_of(folder / "whole", LONG)) == roots(longer)


def test_what_a_run_cannot_be_made_is_told_and_nothing_is_changed(folder: Path) -> None:
    run_of(folder, SHORT)
    before = {p: p.read_bytes() for p in (folder / "run").rglob("*") if p.is_file()}
    with pytest.raises(ConfigError, match=r"rounds is 2 there, 1 here.*never shorter"):
        run_of(folder, 1)
    with pytest.raises(
        ConfigError, match=r"rounds = 102: 100 ETH would have to be added .* 99 ETH"
    ):
        run_of(folder, SHORT + 100)
    with pytest.raises(ConfigError, match=r"rounds is 2 there, 4 here; seed is 3 there, 9 here"):
        run_of(folder, LONG, None, "seed=9")
    with pytest.raises(
        ConfigError, match="rounds is 2 there, 4 here"
    ):  # only where it is asked for
        run_experiment(load_experiment(folder / "tiny.toml"), folder / "run", RunOptions(workers=1))
    assert before == {p: p.read_bytes() for p in (folder / "run").rglob("*") if p.is_file()}
