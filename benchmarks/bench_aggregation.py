"""FedAvg, median and trimmed mean against Flower's own, and against one read of the data.

``ours`` aggregates separate int32 vectors in memory, as the coordinator has them. ``Flower`` is
``aggregate_train`` of FedAvg, FedMedian and FedTrimmedAvg (a fifth cut off each side) with their
defaults, on float32 models of ten tensors in reply messages that are built outside the timed part;
its time includes decoding their arrays. ``read`` is one pass over the same int32 data on all cores.
Each pair of results is compared before it is timed.
"""

import argparse
import gc
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg, FedMedian, FedTrimmedAvg
from flwr.supercore.task_identity import TaskIdentity
from numpy.typing import NDArray

import coordinator.flower.environment  # noqa: F401  (turns Flower's telemetry off)
from benchmarks.harness import (
    Timing,
    available_memory_bytes,
    interleaved,
    machine,
    read_once,
    table,
)
from coordinator.protocol.rules import aggregate
from coordinator.protocol.types import WEIGHT_TOTAL

SIZES = tuple((n, d) for d in (1_000_000, 10_000_000) for n in (10, 50, 100))
TENSORS = 10
SCALE = 1 << 20
FLOWER: dict[str, Callable[[], FedAvg]] = {
    "fedavg": FedAvg,
    "median": FedMedian,
    "trimmed_mean": lambda: FedTrimmedAvg(beta=0.2),
}


class _Case:
    """The inputs of both sides at one size."""

    def __init__(self, n: int, d: int) -> None:
        rng = np.random.default_rng(0)
        self.rows: list[NDArray[np.int32]] = []
        self.arrays: list[list[Array]] = []
        for _ in range(n):
            row = rng.standard_normal(d, np.float32) / 100
            self.rows.append(np.rint(row * np.float32(SCALE)).astype(np.int32))
            parts = np.array_split(row, TENSORS)
            self.arrays.append([Array.from_numpy_ndarray(part) for part in parts])
        self.weights = [WEIGHT_TOTAL // n + (i < WEIGHT_TOTAL % n) for i in range(n)]
        self.trim = n // 5
        self.replies: list[Message] = []

    def make_replies(self) -> None:
        """Build new messages, since FedMedian and FedTrimmedAvg modify theirs."""
        self.replies = [
            Message(
                content=RecordDict(
                    {
                        "arrays": ArrayRecord({str(k): a for k, a in enumerate(row)}),
                        "metrics": MetricRecord({"num-examples": 100}),
                    }
                ),
                dst_node_id=i + 1,
                message_type="train",
            )
            for i, row in enumerate(self.arrays)
        ]

    def ours(self, kind: str) -> NDArray[np.int32]:
        return aggregate(kind, self.rows, self.weights, num_byzantine=self.trim)

    def flower(self, kind: str) -> list[NDArray[Any]]:
        arrays, _ = FLOWER[kind]().aggregate_train(1, self.replies)
        if arrays is None:
            raise RuntimeError(f"Flower's {kind} aggregated nothing")
        return [array.numpy() for array in arrays.values()]

    def check(self, kind: str, parts: Sequence[NDArray[Any]]) -> None:
        difference = np.abs(np.concatenate(parts) - self.ours(kind) / SCALE).max()
        if difference > 2 / SCALE:
            raise RuntimeError(f"{kind}: ours and Flower's differ by {difference}")


def _size(n: int, d: int, rules: Sequence[str]) -> list[dict[str, Any]]:
    case = _Case(n, d)
    for kind in rules:
        # A short vector suffices to compare the results.
        small = _Case(n, 1000)
        small.make_replies()
        small.check(kind, small.flower(kind))
    rivals: dict[str, Callable[[], object]] = {"read": lambda: read_once(case.rows)}
    for kind in rules:
        rivals[f"ours {kind}"] = partial(case.ours, kind)
        rivals[f"Flower {kind}"] = partial(case.flower, kind)
    prepare = {name: case.make_replies for name in rivals if name.startswith("Flower")}
    times = interleaved(rivals, prepare=prepare)
    read = times["read"]
    gigabytes = 4e-9 * n * d
    return [
        _row(n, d, kind, gigabytes, read, times[f"ours {kind}"], times[f"Flower {kind}"])
        for kind in rules
    ]


def _row(
    n: int, d: int, kind: str, gigabytes: float, read: Timing, ours: Timing, flower: Timing
) -> dict[str, Any]:
    return {
        "rule": kind,
        "n": n,
        "d": d,
        "ours ms": 1e3 * ours.median_s,
        "Flower ms": 1e3 * flower.median_s,
        "Flower / ours": flower.median_s / ours.median_s,
        "read ms": 1e3 * read.median_s,
        "read GB/s": gigabytes / read.median_s,
        "ours / read": ours.median_s / read.median_s,
    }


def run(sizes: Sequence[tuple[int, int]] = SIZES) -> list[dict[str, Any]]:
    """Measure every rule at every size; a size that does not fit into memory gets a note."""
    # A message needs the ids of its process's task; any number will do.
    TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1
    logging.getLogger("flwr").setLevel(logging.WARNING)
    rows: list[dict[str, Any]] = []
    for n, d in sizes:
        # Both sides' inputs, and four copies of one tensor of all updates for Flower's median.
        needed = 8 * n * d + 16 * n * d // TENSORS + (1 << 30)
        if needed > available_memory_bytes():
            note = f"not run: needs about {needed / 2**30:.0f} GiB of free memory"
            rows.append({"rule": "all", "n": n, "d": d, "note": note})
            continue
        rows += _size(n, d, tuple(FLOWER))
        gc.collect()
    return rows


def main() -> None:
    """Print the table for the given sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dimension", type=int, action="append", help="only this d")
    parser.add_argument("--updates", type=int, action="append", help="only this n")
    options = parser.parse_args()
    sizes = [
        (n, d)
        for n, d in SIZES
        if d in (options.dimension or [d]) and n in (options.updates or [n])
    ]
    print(machine())
    print(table(run(sizes)))


if __name__ == "__main__":
    main()
