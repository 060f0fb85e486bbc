"""What verifiability costs: a whole run against plain Flower on the same engine.

The same experiment, clients, worker pool and training, 100 clients x 1,007,460 parameters
(an MLP on scikit-learn's digits, 12 examples a client, 25 local epochs in batches of 4: 75 SGD
steps each). ``plain`` is Flower's FedAvg with nothing signed or committed; ``fedproof`` checks
the model's root, quantises, hashes and signs at each client, and screens, stores, aggregates
exactly, commits to the durable chain, scores by examples and tests at the coordinator. Runs
alternate; of each, every round but the first counts. The rows below the ratio say where the
coordinator's share goes (seconds a round inside those calls; workers train meanwhile, so the
shares of collecting overlap with training).
"""

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from coordinator.adapters.ledger import ChainLedger
from coordinator.adapters.store import DiskStore
from coordinator.service import RoundService
from simulations.bookkeeping import Bookkeeper
from simulations.engines.plain import run_plain
from simulations.engines.warm import start_server
from simulations.run import run_experiment
from simulations.schema import Experiment

CLIENTS = 100
ROUNDS = 3
REPEATS = 3  # of (ROUNDS - 1) counted rounds each: the median is of 6

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
    "closing: aggregate": (RoundService, ("_aggregate",)),
    "closing: wait for the disk": (DiskStore, ("sync",)),
    "closing: transactions": (
        ChainLedger,
        ("open_round", "seal_round", "settle_round", "finalize_round"),
    ),
    "test and record": (Bookkeeper, ("round_record",)),
}


@contextmanager
def stopwatches(spent: dict[str, float]) -> Iterator[None]:
    """Add up the time inside the methods of ``PARTS``."""
    before: list[tuple[type, str, Callable[..., Any]]] = []

    def timed(part: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                spent[part] += time.perf_counter() - start

        return call

    for part, (owner, names) in PARTS.items():
        for name in names:
            before.append((owner, name, getattr(owner, name)))
            setattr(owner, name, timed(part, getattr(owner, name)))
    try:
        yield
    finally:
        for owner, name, method in before:
            setattr(owner, name, method)


def run() -> list[dict[str, Any]]:
    """Return a row a rival, then a row a part of ours."""
    start_server()
    experiment = Experiment.model_validate(EXPERIMENT)
    plain: list[float] = []
    ours: list[float] = []
    spent: dict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(REPEATS):
            plain += run_plain(experiment).seconds[1:]
            with stopwatches(spent):
                done = run_experiment(experiment, Path(folder) / str(repeat))
            ours += [record.seconds for record in done.rounds[1:]]
    base, total = statistics.median(plain), statistics.median(ours)
    rounds = REPEATS * ROUNDS
    rows: list[dict[str, Any]] = [
        {"what": "plain Flower FedAvg", "s a round": base, "ratio": 1.0, "rounds": len(plain)},
        {"what": "fedproof", "s a round": total, "ratio": total / base, "rounds": len(ours)},
    ]
    for part in PARTS:
        seconds = spent[part] / rounds
        rows.append({"what": part, "s a round": seconds, "ratio": seconds / base})
    return rows


if __name__ == "__main__":
    from benchmarks.harness import table

    print(table(run()))
