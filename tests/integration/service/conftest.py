"""The bench over the in-memory fakes and over the real chain and disk alike."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gavel_bench import DisputedBench, chain_bench, memory_bench
from memory_ledger import CONTRACT, MemoryJournal, MemoryLedger, MemoryStore
from service_bench import CONTRIBUTORS, EXPERIMENT, INITIAL, MANIFEST, Bench

from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.types import Address, SigningDomain, Wei
from coordinator.stores.disk import DiskStore
from coordinator.stores.run_folder import FileJournal
from simulations.run.chain import open_chain
from simulations.run.identities import identities_of, private_key


@pytest.fixture(params=["memory", "real"])
def make_bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Bench]]:
    """Return a maker of benches over the same ledger, as after a restart."""
    identities = identities_of(EXPERIMENT)
    keys = [private_key(EXPERIMENT.seed, f"contributor {i}") for i in range(CONTRIBUTORS)]
    root = parameter_root(INITIAL, MANIFEST)
    if request.param == "memory":
        bonds = {Address(a): Wei(10**18) for a in identities.addresses}
        domain = SigningDomain(1337, CONTRACT)
        ledger = MemoryLedger(root, bonds, domain, Wei(1000), Wei(9000), min_contributors=2)
        bench = Bench(ledger, MemoryStore(), MemoryJournal(), keys)
        yield lambda: bench
        return
    with open_chain(EXPERIMENT, identities, None, root) as chain:
        stores: list[DiskStore] = []

        def make() -> Bench:
            for store in stores:  # no thread of a killed process writes on beside its successor
                store.sync()
            stores.append(DiskStore(tmp_path / "blobs"))
            return Bench(chain.ledger, stores[-1], FileJournal(tmp_path / "rounds"), keys)

        yield make
        for store in stores:
            store.close()


@pytest.fixture
def bench(make_bench: Callable[[], Bench]) -> Bench:
    return make_bench()


@pytest.fixture(params=["memory", "chain"])
def disputed(request: pytest.FixtureRequest) -> Iterator[DisputedBench]:
    """A bench whose rounds a test may convict, over the fakes and over the real contract."""
    if request.param == "memory":
        yield memory_bench()
        return
    with chain_bench() as bench:
        yield bench
