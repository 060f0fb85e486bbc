"""The time of an audit: 20 rounds x 50 contributors x 100,210 parameters, files in memory.

``verify`` executes every block again, re-hashes every blob, checks every signature and computes
every aggregate, score and reward again; ``read`` only reads every file of the run once. The run
itself (training with scikit-learn's digits) is not timed.
"""

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import interleaved
from coordinator.audit.verify.run_audit import verify_run
from simulations.engines.fork_server import start_server
from simulations.experiment.schema import Experiment
from simulations.run.simulation import run_experiment

ROUNDS, CONTRIBUTORS, HIDDEN = 20, 50, 1336
EXPERIMENT = {
    "name": "bench-verify",
    "seed": 1,
    "rounds": ROUNDS,
    "data": {"kind": "digits"},
    "partition": {"kind": "iid", "clients": CONTRIBUTORS},
    "model": {"kind": "mlp", "hidden": [HIDDEN]},
    "training": {"epochs": 1, "batch_size": 16, "learning_rate": 0.05},
    "evaluation": {"every": 20},
}


def _verified(root: Path) -> None:
    findings = verify_run(root)
    assert findings.ok, findings.faults
    assert len(findings.rounds) == ROUNDS


def _read(root: Path) -> int:
    return sum(len(path.read_bytes()) for path in root.rglob("*") if path.is_file())


def run() -> list[dict[str, Any]]:
    """Return a row for the audit, and one for reading the same files."""
    start_server()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "run"
        run_experiment(Experiment.model_validate(EXPERIMENT), root)
        size = _read(root)
        timings = interleaved({"verify": lambda: _verified(root), "read": lambda: _read(root)})
    base = timings["read"].median_s
    return [
        {
            "what": what,
            "s": timing.median_s,
            "MB/s": size / timing.median_s / 1e6,
            "ratio to reading": timing.median_s / base,
            "MB": round(size / 1e6),
            "runs": timing.runs,
        }
        for what, timing in timings.items()
    ]


if __name__ == "__main__":
    from benchmarks.harness import table

    print(table(run()))
