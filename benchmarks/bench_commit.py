"""Commit of one large update: quantise, subtract, parameter tree and root.

``python -m benchmarks.bench_commit [--dimension D] [--repeats N]``. Medians, one process; all
buffers except the tree's own are reused, as in a participant's daemon. For comparison in the same
run: one read of the data, and the same tree with hashlib, one call per node.
"""

import argparse
import hashlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.numbers.fixed_point import quantise_into, subtract
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.parallel import available_threads

DIMENSION = 10_000_000
REPEATS = 7


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def hashlib_root(vector: np.ndarray[Any, np.dtype[np.int32]], manifest: Manifest) -> bytes:
    """Return the same root in the simplest way: one hashlib call per node."""
    sha256 = hashlib.sha256
    size = 4 * manifest.chunk_values
    data = vector.astype(">i4").tobytes()
    data += bytes(-len(data) % size)
    level = [sha256(b"\0" + data[i : i + size]).digest() for i in range(0, len(data), size)]
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        above = [sha256(b"\1" + left + right).digest() for left, right in pairs]
        level = above + level[2 * len(above) :]
    size_bytes = manifest.dimension.to_bytes(8, "big")
    return sha256(b"\2" + manifest.digest() + level[0] + size_bytes).digest()


def run(dimension: int = DIMENSION, repeats: int = REPEATS) -> list[dict[str, Any]]:
    """Measure each step; a row holds ``step``, ``threads``, ``ms`` and ``gb_per_s`` of int32."""
    random = np.random.default_rng(0)
    model = {"w": random.normal(0, 0.05, dimension).astype(np.float32)}
    manifest = Manifest.of(model)
    base = quantise_into(model, manifest, np.empty(dimension, np.int32))
    trained = np.empty(dimension, np.int32)
    update = np.empty(dimension, np.int32)
    model["w"] += random.normal(0, 0.001, dimension).astype(np.float32)
    threads = available_threads()

    def commit(count: int) -> bytes:
        quantise_into(model, manifest, trained)
        subtract(trained, base, out=update)
        return parameter_root(update, manifest, threads=count)

    if commit(1) != hashlib_root(update, manifest):
        raise AssertionError("the fast tree and the plain tree disagree")
    steps: list[tuple[str, int, Callable[[], object]]] = [
        ("read the data once", 1, update.max),
        ("quantise float32", 1, lambda: quantise_into(model, manifest, trained)),
        ("subtract", 1, lambda: subtract(trained, base, out=update)),
        ("tree and root", 1, lambda: parameter_root(update, manifest, threads=1)),
        ("tree and root", threads, lambda: parameter_root(update, manifest, threads=threads)),
        ("tree and root, hashlib", 1, lambda: hashlib_root(update, manifest)),
        ("whole commit", 1, lambda: commit(1)),
        ("whole commit", threads, lambda: commit(threads)),
    ]
    times: dict[int, list[float]] = {place: [] for place in range(len(steps))}
    for _, _, work in steps:
        work()  # warm-up: compilation and page faults
    for _ in range(repeats):  # interleaved, so that a slow moment affects all of them
        for place, (_, _, work) in enumerate(steps):
            times[place].append(_seconds(work))
    rows = []
    for place, (step, count, _) in enumerate(steps):
        seconds = statistics.median(times[place])
        rate = 4 * dimension / seconds / 1e9
        rows.append({"step": step, "threads": count, "ms": 1e3 * seconds, "gb_per_s": rate})
    return rows


def main() -> None:
    """Print the table for docs and RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dimension", type=int, default=DIMENSION)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    options = parser.parse_args()
    rows = run(options.dimension, options.repeats)
    print(
        f"| commit of {options.dimension:,} parameters | threads | ms | GB/s |\n|---|--:|--:|--:|"
    )
    for row in rows:
        print(f"| {row['step']} | {row['threads']} | {row['ms']:.1f} | {row['gb_per_s']:.2f} |")


if __name__ == "__main__":
    main()
