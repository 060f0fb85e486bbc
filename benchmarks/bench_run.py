"""What verifiability costs: a whole run against plain Flower on the same engine.

The same experiment, clients, worker pool and training, 100 clients x 1,007,460 parameters
(an MLP on scikit-learn's digits, 12 examples a client, 25 local epochs in batches of 4: 75 SGD
steps each). ``plain`` is Flower's FedAvg with nothing signed or committed; ``fedproof`` checks
the model's root, quantises, hashes and signs at each client, and screens, stores, aggregates
exactly, commits to the durable chain, scores by examples and tests at the coordinator. Runs
alternate. ``a round`` is the median of all rounds but each run's first; ``run`` is the median of
whole runs, with data, workers, contract and accounts at their beginning and, of ours, finalising,
claims, plots and report at their end. The rows below say where a round's time goes: at the
coordinator, seconds inside those calls, each without the others inside it (workers train
meanwhile, so what happens while collecting overlaps with training); at the participants, what one
of them computes for a round beside training, measured alone, times clients by workers.
"""

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

from clients.signer import KeySigner
from coordinator.adapters.ledger import ChainLedger
from coordinator.adapters.store import DiskStore
from coordinator.core.aggregation.parallel import available_threads
from coordinator.core.fixedpoint import quantise_into, subtract
from coordinator.core.parameter_tree import parameter_root
from coordinator.core.types import Address, RoundId, SigningDomain, UpdateMessage
from coordinator.service import RoundService
from coordinator.service.closing import Closer
from coordinator.service.settling import Settler
from simulations.data import load_dataset
from simulations.engines.plain import run_plain
from simulations.engines.warm import start_server
from simulations.plan import agree
from simulations.run import Simulation, run_experiment
from simulations.schema import Experiment

CLIENTS = 100
ROUNDS = 3
REPEATS = 5  # of (ROUNDS - 1) counted rounds each: the median is of 10

EXPERIMENT = {
    "name": "bench",
    "seed": 1,
    "rounds": ROUNDS,
    "data": {"kind": "digits"},
    "partition": {"kind": "iid", "clients": CLIENTS},
    "model": {"kind": "mlp", "hidden": [960, 960]},
    "training": {"epochs": 25, "batch_size": 4, "learning_rate": 0.05},
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
    """Adds up the time inside the methods of ``PARTS``, without that inside one another."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._inside = threading.local()

    def timed(self, part: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return a method that tells how long it takes."""

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
        """Stand in for the methods."""
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
    """Return the seconds a round that participants take to check, quantise, hash and sign."""
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


def run() -> list[dict[str, Any]]:
    """Return two rows a rival, then a row a part of ours."""
    start_server()
    experiment = Experiment.model_validate(EXPERIMENT)
    rounds: dict[str, list[float]] = {"plain": [], "fedproof": []}
    runs: dict[str, list[float]] = {"plain": [], "fedproof": []}
    watches = Stopwatches()
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(REPEATS):
            start = time.perf_counter()
            rounds["plain"] += run_plain(experiment).seconds[1:]
            runs["plain"].append(time.perf_counter() - start)
            start = time.perf_counter()
            with watches.running():
                done = run_experiment(experiment, Path(folder) / str(repeat))
            runs["fedproof"].append(time.perf_counter() - start)
            rounds["fedproof"] += [record.seconds for record in done.rounds[1:]]
    rows = [*_against("a round", rounds), *_against("a run", runs)]
    parts = {part: watches.spent[part] / (REPEATS * ROUNDS) for part in PARTS}
    workers = available_threads()
    parts["participants: check, quantise, hash, sign"] = participants_share(experiment, workers)
    base = statistics.median(rounds["plain"])
    return rows + [{"what": w, "seconds": s, "ratio": s / base} for w, s in parts.items()]


def _against(what: str, seconds: dict[str, list[float]]) -> list[dict[str, Any]]:
    base = statistics.median(seconds["plain"])
    return [
        {
            "what": f"{what}: {rival}",
            "seconds": statistics.median(found),
            "ratio": statistics.median(found) / base,
            "of": len(found),
            "least": min(found),
            "most": max(found),
        }
        for rival, found in seconds.items()
    ]


if __name__ == "__main__":
    from benchmarks.harness import table

    print(table(run()))
