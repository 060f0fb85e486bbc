"""A withheld model, answered chunk by chunk on chain, whose false chunk the watcher never reaches.

A watcher asks for eight chunks by default and pays for each; the fault lies in a later one.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import fraud_bench
import numpy as np
import pytest
from fraud_bench import GUILTY, FraudBench
from known_weakness import attacker_fails, known_weakness

from coordinator.audit.responder import Responder
from coordinator.audit.watch.rounds import RoundReader
from coordinator.protocol.numbers.manifest import Manifest, TensorSpec
from coordinator.protocol.types import RoundId
from coordinator.stores.disk import DiskStore
from simulations.run.chain import finalize_all

CHUNKS = 20
LATE = 100  # a parameter in chunk 12


@pytest.fixture
def long_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the bench a model of 20 chunks."""
    manifest = Manifest((TensorSpec("w", (CHUNKS, 8), "float32"),), chunk_values=8)
    initial = np.arange(manifest.dimension, dtype=np.int32) * 100 - 20_000
    monkeypatch.setattr(fraud_bench, "MANIFEST", manifest)
    monkeypatch.setattr(fraud_bench, "D", manifest.dimension)
    monkeypatch.setattr(fraud_bench, "INITIAL", initial)


def withheld(bench: FraudBench, folder: Path, **options: int) -> None:
    """Withhold the false model, and answer each demand on chain."""
    chain = bench.chain
    for _ in range(GUILTY):
        bench.play(watched=False)
    private = folder / "private"
    shutil.copytree(bench.folder / "blobs", private)
    root = chain.ledger.round(RoundId(GUILTY)).new_model_root
    bench.public.path(root, "safetensors").unlink()
    rounds = RoundReader(chain.federation, DiskStore(private, read_only=True))
    coordinator = chain.identities.coordinator
    responder = Responder(chain.federation, chain.referee, rounds, coordinator)
    watcher = bench.watcher(**options)
    while watcher.step() or responder.step():
        continue
    responder.settle()
    finalize_all(chain)


@pytest.mark.usefixtures("long_model")
@known_weakness("a watcher gives up after 8 chunks")
def test_known_weakness_a_false_chunk_behind_the_eighth_is_not_reached(
    make_bench: Callable[..., FraudBench], tmp_path: Path
) -> None:
    bench = make_bench({"kind": "shift_parameter", "parameter": LATE})
    withheld(bench, tmp_path)
    attacker_fails(bench.statuses()[GUILTY - 1] == "void", "the false round is final")


@pytest.mark.usefixtures("long_model")
def test_a_watcher_that_asks_for_all_chunks_convicts(
    make_bench: Callable[..., FraudBench], tmp_path: Path
) -> None:
    bench = make_bench({"kind": "shift_parameter", "parameter": LATE})
    withheld(bench, tmp_path, chunks=CHUNKS)
    assert bench.statuses()[GUILTY - 1] == "void"
