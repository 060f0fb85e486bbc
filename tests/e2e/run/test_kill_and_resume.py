"""``kill -9`` of a simulation at random instants: nothing acknowledged is lost."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from fedproof_command import fedproof, kill_group, start, write_tiny
from warm_command import WarmProcess

from coordinator.stores.run_folder import RunFolder

KILLS, PARTS = (20, 5) if os.environ.get("FEDPROOF_FAULTS") == "full" else (8, 4)
"""Kills in all, in so many parts: each is a test of its own, so that they run side by side."""
KILLS_SEALED = 4
SEED = 20261123


def outcome(run: Path) -> dict[str, object]:
    """What must be the same in a disturbed run: every root, every payment, every block."""
    rounds = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for record in rounds:
        del record["seconds"]  # wall time
    federation = json.loads((run / "federation.json").read_text())
    contributors = json.loads((run / "contributors.json").read_text())
    return {"rounds": rounds, "federation": federation, "contributors": contributors}


def workers_of(process_id: int) -> list[int]:
    """Return the process's group, without itself: forkserver and workers."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != process_id:
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[2]) == process_id and fields[0] != "Z":
                found.append(int(entry.name))
    return found


@pytest.fixture(scope="module", params=[False, True], ids=["open", "sealed"])
def undisturbed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, object]]:
    """Return an experiment, and how it ends if nothing happens to it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    config = write_tiny(folder, sealed=request.param)
    done = fedproof("simulate", config, "--out", folder / "run", "--workers", "1")
    assert done.returncode == 0, done.stderr
    return config, outcome(folder / "run")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("undisturbed", "wanted", "part"),
    [*((False, KILLS // PARTS, part) for part in range(PARTS)), (True, KILLS_SEALED, PARTS)],
    indirect=["undisturbed"],
)
def test_kills_end_in_the_very_same_blocks(
    tmp_path: Path, undisturbed: tuple[Path, dict[str, object]], wanted: int, part: int
) -> None:
    """Sealed rounds have one phase more to die in: between commitments on chain and updates."""
    config, expected = undisturbed
    chance = random.Random(SEED + part)
    kills, attempt, phases = 0, 0, []
    while kills < wanted:
        run = tmp_path / f"disturbed-{attempt}"
        attempt += 1
        while kills < wanted:
            process = start("simulate", config, "--out", run, "--workers", "1", "--resume")
            try:
                if _killed_at_random(process, run, chance):
                    kills += 1
                    phases.append(_rounds_on_disk(run))
                else:
                    assert process.returncode == 0
                    break
                assert _gone(workers_of(process.pid)), "workers outlive a killed simulation"
            finally:
                kill_group(process)
        assert RunFolder(run).foreign() == [], "--fresh would not take this for a run"
        resumed = fedproof("simulate", config, "--out", run, "--workers", "1", "--resume")
        assert resumed.returncode == 0, resumed.stderr
        assert outcome(run) == expected
        verified = fedproof("verify", run)
        assert verified.returncode == 0, verified.stdout
    print(f"killed {kills} times, with so many rounds recorded: {phases}")


def _killed_at_random(process: WarmProcess, run: Path, chance: random.Random) -> bool:
    """Wait for the run to touch its folder, then for a random instant; kill if still alive."""
    started = time.time()
    watched = (run / "chain" / "chain.sqlite-wal", run / "config.json")
    while process.poll() is None and not any(_touched(p, started) for p in watched):
        time.sleep(0.005)
    deadline = time.monotonic() + chance.uniform(0.0, 2.5)
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    if process.poll() is not None:
        return False
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    return True


def _touched(path: Path, since: float) -> bool:
    try:
        return path.stat().st_mtime >= since
    except FileNotFoundError:
        return False


def _rounds_on_disk(run: Path) -> int:
    path = run / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def _gone(process_ids: list[int]) -> bool:
    """Wait for processes to notice that their parent has died."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if not any(Path(f"/proc/{number}").exists() for number in process_ids):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
def test_a_void_round_without_a_note_does_not_end_the_run(tmp_path: Path) -> None:
    """As when it is killed between a proven fraud and its own note of it."""
    run = tmp_path / "run"
    command = ("simulate", "attack_shift", "--set", "rounds=3", "--out", run, "--workers", "1")
    done = fedproof(*command)
    assert done.returncode == 0, done.stderr
    expected = outcome(run)
    for name in ("SHA256SUMS", "rounds/000003.json"):
        (run / name).unlink()
    metrics = run / "metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:2]))
    resumed = fedproof(*command, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert outcome(run) == expected
    told = [line for line in resumed.stdout.splitlines() if line.startswith("round ")]
    assert told == ["round   3/3  void: wrong aggregate"]
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[2])
    assert (last["status"], last["reason"]) == ("void", "wrong aggregate")
    verified = fedproof("verify", run)
    assert verified.returncode == 0, verified.stdout
