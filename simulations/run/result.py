"""The options of a run, and the records of a finished one."""

from dataclasses import dataclass
from pathlib import Path

from coordinator.protocol.types import JsonObject
from coordinator.stores.run_folder import RunFolder
from simulations.report.coordinator import COORDINATOR
from simulations.report.records import (
    ContributorRecord,
    RoundRecord,
    read_contributors,
    read_rounds,
)


@dataclass(frozen=True)
class RunOptions:
    """Options of a run that change no result.

    ``workers`` of ``None`` means all cores. ``fresh`` deletes an earlier run in the folder;
    ``extend`` continues a run that has fewer rounds and is the same otherwise.
    ``rpc_port`` serves the chain on loopback while the run lasts (0: any free port), for watchers
    in other processes: after each round it pauses for ``pace_s`` seconds of wall-clock time.
    """

    workers: int | None = None
    data_folder: Path | None = None
    fresh: bool = False
    extend: bool = False
    rpc_port: int | None = None
    pace_s: float = 5.0


@dataclass(frozen=True)
class Run:
    """A finished run of an experiment.

    Attributes
    ----------
    path
        The run's folder.
    rounds
        One record per round, in order.
    contributors
        One record per contributor, in the order of client numbers.
    coordinator
        Bond, convictions and refused attempts of the coordinator, as in ``coordinator.json``.
    resumed_from
        Number of rounds that existed when this call began.
    """

    path: Path
    rounds: list[RoundRecord]
    contributors: list[ContributorRecord]
    coordinator: JsonObject
    resumed_from: int


def finished(folder: RunFolder, *, resumed_from: int | None = None) -> Run:
    """Read the records of a finished run; ``resumed_from`` of ``None`` means all its rounds."""
    rounds = read_rounds(folder.root / "metrics.jsonl")
    return Run(
        folder.root,
        rounds,
        read_contributors(folder.root / "contributors.json"),
        folder.read_json(folder.root / COORDINATOR),
        len(rounds) if resumed_from is None else resumed_from,
    )
