"""A disk that fails to sync, a full disk, clocks an hour off: said clearly, and rounds go on.

One federation whose coordinator keeps its state on a small file system of its own.
"""

import contextlib
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from live_federation import FULL, PATIENCE_S, Federation, live
from participant_bench import Daemon
from preloading import clock_off, compile_faults, sync_fault

from coordinator.protocol.types import RoundId

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]
SIZE = 96 << 20
HOUR_S = 3_600
SYNC_FAULTS = 4 if FULL else 2
SEED = 5


@dataclass
class Faulty:
    """A federation, where its coordinator's next sync is made to fail, and why no small disk."""

    federation: Federation
    trigger: Path
    library: Path
    no_small_disk: str


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    folder = tmp_path_factory.mktemp("faulty")
    library = compile_faults(folder)
    federation = live(folder, duration_s=120)
    for name, seconds in (("berlin", HOUR_S), ("rome", -HOUR_S)):
        environment = clock_off(library, seconds)
        federation.daemons[name] = Daemon(federation.root, name, env=environment)
    trigger = folder / "fail-next-sync"
    federation.coordinator.environment = sync_fault(library, trigger)
    with small_disk(federation.coordinator.state) as reason, federation:
        federation.wait_for_rounds(1)
        yield Faulty(federation, trigger, library, reason)


@contextlib.contextmanager
def small_disk(state: Path) -> Iterator[str]:
    """Put a folder on a file system of its own; yield why not, empty if it is."""
    aside = state.with_name("aside")
    state.rename(aside)
    state.mkdir(mode=0o700)
    options = f"size={SIZE},mode=700"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", state], capture_output=True, check=False
    )
    shutil.copytree(aside, state, dirs_exist_ok=True, symlinks=True)
    try:
        yield mounted.stderr.decode().strip()
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "--lazy", state], check=True)


def next_round(federation: Federation, timeout_s: float = PATIENCE_S) -> list[str]:
    """Wait until a round that is yet to open is sealed; return who is in it."""
    reader = federation.reader()
    number = RoundId(reader.head().last_opened + 1)
    federation.wait_until(
        lambda: reader.round(number).sealed_at, f"round {number} is sealed", timeout_s
    )
    return sorted(federation.contributors(number))


def test_participants_whose_clocks_are_an_hour_off(faulty: Faulty) -> None:
    federation = faulty.federation
    for name in ("berlin", "rome"):
        pid = federation.process(f"supernode of {name}")
        assert b"FAULT_CLOCK_S" in Path(f"/proc/{pid}/environ").read_bytes()
    assert next_round(federation) == ["berlin", "paris", "rome"]


def test_a_sync_that_fails_once(faulty: Faulty) -> None:
    federation, service = faulty.federation, faulty.federation.coordinator
    ends, rng = 0, random.Random(SEED)
    for _ in range(SYNC_FAULTS):
        time.sleep(rng.uniform(0.0, 12.0))
        faulty.trigger.touch()
        federation.wait_until(lambda: not faulty.trigger.exists(), "a sync fails", 180.0, 0.01)
        time.sleep(1.0)
        assert service.process is not None
        if service.process.poll() is not None:  # it may prefer to start afresh, with a reason
            ends += 1
            assert service.process.returncode in (5, 6)
            service.start()
        next_round(federation)
    said = service.said()
    assert said.count("Input/output error") + said.count("disk I/O error") >= 1, said[-3000:]
    print(f"{SYNC_FAULTS} failed syncs, {ends} of them ended the service")
    federation.verify()


def test_a_full_disk(faulty: Faulty) -> None:
    if faulty.no_small_disk:
        pytest.skip(f"no small file system can be mounted here: {faulty.no_small_disk}")
    federation, service = faulty.federation, faulty.federation.coordinator
    filler = service.state / "filler"
    fill(filler)
    told = federation.wait_until(
        lambda: [
            line
            for line in [
                *service.status().get("not_ready", []),
                *service.status().get("errors", []),
            ]
            if "space left" in line.lower()
        ],
        "the status says that the disk is full",
        180.0,
    )
    print(f"full disk: {told[-1]}")
    fill(filler)
    rounds = federation.height()
    assert service.process is not None
    assert service.process.poll() is None, service.said()[-2000:]
    time.sleep(5)
    assert federation.height() <= rounds + 1
    filler.unlink()
    next_round(federation)
    federation.verify()


def fill(path: Path) -> None:
    """Write to a file until nothing more fits."""
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4_096))


def test_a_coordinator_whose_clock_goes_back_an_hour(faulty: Faulty) -> None:
    federation, service = faulty.federation, faulty.federation.coordinator
    before = federation.reader().block()
    assert service.end() == 0
    service.environment = clock_off(faulty.library, -HOUR_S)
    service.start()
    service.until(lambda s: s["chain"])
    assert federation.reader().block(before.number).hash == before.hash
    next_round(federation)
    state = federation.reader().round(federation.reader().head().head_round)
    assert before.timestamp <= state.sealed_at <= before.timestamp + 600
    assert os.path.exists(service.state)
    federation.verify()
