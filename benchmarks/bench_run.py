"""The cost of verifiability: a whole run against plain Flower on the same engine.

The same experiment, clients, worker pool and training, 100 clients x 1,007,460 parameters
(an MLP on scikit-learn's digits, 12 examples per client, in batches of 4), with two lengths of
local training: 300 SGD steps per round, as in the paper of FedAvg (McMahan et al. 2017: 600
examples per client, in batches of 10, five epochs), and a quarter of that. ``plain`` is Flower's
FedAvg, with nothing signed or committed; ``fedproof`` checks the model's root, quantises, hashes
and signs at each client, and screens, stores, aggregates exactly, commits to the durable chain,
scores by examples and tests at the coordinator. Runs alternate, and so does the one that is first.
``a round`` is the median of all rounds except each run's first; ``run`` is the median of whole
runs, including data, workers, contract and accounts at their start and, for ours, finalising,
claims, plots and report at their end. The other rows are the parts of a round's time: at the
coordinator, seconds inside these calls, each without those it contains (workers train at the same
time, so the parts while collecting overlap with training); at the participants, one participant's
computation for a round apart from training, measured alone, times clients by workers.
"""

import os
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from clients.mod.signer import KeySigner
from coordinator.ledger.contract_ledger import ChainLedger
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.numbers.fixed_point import quantise_into, subtract
from coordinator.protocol.parallel import available_threads
from coordinator.protocol.types import Address, RoundId, SigningDomain, UpdateMessage
from coordinator.service.closing import Closer
from coordinator.service.round_service import RoundService
from coordinator.service.settling import Settler
from coordinator.stores.disk import DiskStore
from simulations.data import load_dataset
from simulations.engines.fork_server import start_server
from simulations.experiment.schema import Experiment
from simulations.run.agreement import agree
from simulations.run.plain import run_plain
from simulations.run.simulation import Simulation, run_experiment

CLIENTS = 100
REPEATS = 5
STEPS_AN_EPOCH = 3
TRAININGS = {300: 2, 75: 3}
"""Rounds of a run by local steps; the first is not counted."""

EXPERIMENT = {
    "name": "bench",
    "seed": 1,
    "data": {"kind": "digits"},
    "partition": {"kind": "iid", "clients": CLIENTS},
    "model": {"kind": "mlp", "hidden": [960, 960]},
    "chain": {"challenge_window_s": 0},
}

PARTS: dict[str, tuple[type, tuple[str, ...]]] = {
    "collecting: screen and queue for the disk": (RoundService, ("submit",)),
    "closing: aggregate": (Closer, ("aggregate",)),
    "closing: hash the model, queue for the disk": (Closer, ("store",)),
    "closing: wait for the disk": (DiskStore, ("sync",)),
    "closing: score and split": (Settler, ("settle",)),
    "transactions": (
        ChainLedger,
        ("open_round", "seal_round", "settle_round", "finalize_round"),
    ),
    "test and record": (Simulation, ("_round_over",)),
}
DOMAIN = SigningDomain(1337, Address("0x" + "11" * 20))


class Stopwatches:
    """Sums the time inside the methods of ``PARTS``, without that of methods they contain."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._inside = threading.local()

    def timed(self, part: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return a method that adds its time to ``spent``."""

        def call(*args: Any, **kwargs: Any) -> Any:
            outer, self._inside.seconds = getattr(self._inside, "seconds", 0.0), 0.0
            start = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                seconds = time.perf_counter() - start
                self.spent[part] += seconds - self._inside.seconds
                self._inside.seconds = outer + seconds

        return call

    @contextmanager
    def running(self) -> Iterator[None]:
        """Replace the methods of ``PARTS`` by timed ones."""
        before: list[tuple[type, str, Callable[..., Any]]] = []
        for part, (owner, names) in PARTS.items():
            for name in names:
                before.append((owner, name, getattr(owner, name)))
                setattr(owner, name, self.timed(part, getattr(owner, name)))
        try:
            yield
        finally:
            for owner, name, method in before:
                setattr(owner, name, method)


def participants_share(experiment: Experiment, workers: int) -> float:
    """Return the seconds per round in which participants check, quantise, hash and sign."""
    agreement = agree(experiment, load_dataset(experiment.data, None, experiment.seed))
    manifest = agreement.plan.manifest
    state = {name: tensor.numpy() for name, tensor in agreement.initial_state.items()}
    base = quantise_into(state, manifest, np.empty(manifest.dimension, np.int32))
    update = np.empty_like(base)
    signer = KeySigner((1).to_bytes(32, "big"))
    times = []
    for _ in range(21):
        start = time.perf_counter()
        received = parameter_root(base, manifest, threads=1)
        subtract(quantise_into(state, manifest, update), base, out=update)
        digest = parameter_root(update, manifest, threads=1)
        signer.sign(DOMAIN, UpdateMessage(RoundId(1), received, digest, 12, bytes(32)))
        times.append(time.perf_counter() - start)
    return statistics.median(times) * CLIENTS / workers


def experiment_of(steps: int, rounds: int) -> Experiment:
    """Return the experiment with a number of local steps."""
    training = {"epochs": steps // STEPS_AN_EPOCH, "batch_size": 4, "learning_rate": 0.05}
    return Experiment.model_validate(EXPERIMENT | {"rounds": rounds, "training": training})


def run() -> list[dict[str, Any]]:
    """Return for each training two rows per rival, then a row per part of ours."""
    start_server()
    return [
        {"steps": steps, **row}
        for steps, rounds in TRAININGS.items()
        for row in rows_of(experiment_of(steps, rounds))
    ]


def rows_of(experiment: Experiment) -> list[dict[str, Any]]:
    """Return the rows of one training."""
    rounds: dict[str, list[float]] = {"plain": [], "fedproof": []}
    runs: dict[str, list[float]] = {"plain": [], "fedproof": []}
    watches = Stopwatches()
    for repeat in range(REPEATS):
        for rival in ("plain", "fedproof") if repeat % 2 == 0 else ("fedproof", "plain"):
            start = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                seconds = _played(rival, experiment, Path(folder) / "run", watches)
                runs[rival].append(time.perf_counter() - start)
            rounds[rival] += seconds[1:]
            os.sync()  # so that pending writes do not slow the next run
    rows = [*_against("a round", rounds), *_against("a run", runs)]
    parts = {part: watches.spent[part] / (REPEATS * experiment.rounds) for part in PARTS}
    workers = available_threads()
    parts["participants: check, quantise, hash, sign"] = participants_share(experiment, workers)
    base = statistics.median(rounds["plain"])
    return rows + [{"what": w, "seconds": s, "ratio": s / base} for w, s in parts.items()]


def _played(rival: str, experiment: Experiment, folder: Path, watches: Stopwatches) -> list[float]:
    """Return the seconds of each round of one run."""
    if rival == "plain":
        return list(run_plain(experiment).seconds)
    with watches.running():
        return [record.seconds for record in run_experiment(experiment, folder).rounds]


def _against(what: str, seconds: dict[str, list[float]]) -> list[dict[str, Any]]:
    base = statistics.median(seconds["plain"])
    return [
        {
            "what": f"{what}: {rival}",
            "seconds": statistics.median(times),
            "ratio": statistics.median(times) / base,
            "of": len(times),
            "least": min(times),
            "most": max(times),
        }
        for rival, times in seconds.items()
    ]


if __name__ == "__main__":
    from benchmarks.harness import table

    print(table(run()))
