"""Whole runs of a sealed federation: same bytes, nothing to copy, audited from the artifacts."""

import json
import shutil
from pathlib import Path

import pytest
from fedproof_command import TINY, fedproof

CHEATS = """
[[behaviours]]
kind = "equivocate"
clients = [4]
from_round = 2

[[behaviours]]
kind = "nan"
clients = [3]

[[behaviours]]
kind = "peek"
clients = [2]
victim = 0
from_round = 2
"""


def write(folder: Path, *, sealed: bool) -> Path:
    scored_by_examples = TINY.split("[scoring]")[0] + "[chain]\nchallenge_window_s = 5\n"
    text = scored_by_examples.replace("[cohort]\n", f"[cohort]\nsealed = {str(sealed).lower()}\n")
    folder.mkdir(exist_ok=True)
    path = folder / "tiny.toml"
    path.write_text(text + CHEATS)
    return path


def run(config: Path, out: Path, workers: int = 2) -> Path:
    done = fedproof("simulate", config, "--out", out, "--workers", str(workers))
    assert done.returncode == 0, done.stderr
    return out


def people(out: Path) -> dict[str, dict[str, object]]:
    return {p["behaviour"]: p for p in json.loads((out / "contributors.json").read_text())}


@pytest.fixture(scope="module")
def sealed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sealed")
    return run(write(folder, sealed=True), folder / "one", 1)


@pytest.mark.slow
def test_workers_change_nothing(sealed_run: Path, tmp_path: Path) -> None:
    other = run(write(tmp_path, sealed=True), tmp_path / "four", 4)
    for name in ("federation.json", "contributors.json", "config.json"):
        assert (sealed_run / name).read_bytes() == (other / name).read_bytes(), name
    for out in (sealed_run, other):
        assert not (out / "pending").exists()


@pytest.mark.slow
def test_an_eavesdropper_earns_in_open_rounds_and_nothing_in_sealed_ones(
    sealed_run: Path, tmp_path: Path
) -> None:
    opened = run(write(tmp_path, sealed=False), tmp_path / "open")
    copier = people(opened)["peek"]
    victim = json.loads((opened / "contributors.json").read_text())[0]
    assert copier["accepted"] == 4
    assert copier["earned_wei"] == victim["earned_wei"]  # for the same update, every round
    copier = people(sealed_run)["peek"]
    assert copier["accepted"] == 1  # before it began to copy
    assert copier["refusals"] == {"commitment-mismatch": 3}
    lines = map(json.loads, (sealed_run / "metrics.jsonl").read_text().splitlines())
    first = next(iter(lines))
    # 48 examples each; what it earned is its honest share of the first round alone
    assert copier["earned_wei"] == first["paid_wei"] // first["contributors"]


@pytest.mark.slow
def test_every_other_cheat_is_refused_by_name_too(sealed_run: Path) -> None:
    assert people(sealed_run)["nan"]["refusals"] == {"wrong-dtype": 4}
    equivocator = people(sealed_run)["equivocate"]
    assert equivocator["refusals"] == {"conflicting-commitment": 3}
    assert (equivocator["accepted"], equivocator["slashed_wei"]) == (1, 0)
    rounds = list(map(json.loads, (sealed_run / "metrics.jsonl").read_text().splitlines()))
    assert [r["contributors"] for r in rounds] == [4, 2, 2, 2]


@pytest.mark.slow
def test_verify_passes_and_finds_a_missing_or_changed_commitment(
    sealed_run: Path, tmp_path: Path
) -> None:
    done = fedproof("verify", sealed_run)
    assert done.returncode == 0, done.stdout
    documents = [
        path
        for path in (sealed_run / "blobs").rglob("*.json")
        if '"commitments":' in path.read_text()
    ]
    assert len(documents) == 4
    changed = tmp_path / "changed"
    shutil.copytree(sealed_run, changed)
    name = documents[0].relative_to(sealed_run)
    document = json.loads(documents[0].read_text())
    document["commitments"][0][1] = "00" * 32
    (changed / name).write_text(json.dumps(document, sort_keys=True, separators=(",", ":")))
    done = fedproof("verify", changed, "--partial")
    assert done.returncode == 1
    rule = "commitments must hash to the committed root"
    assert (
        f"round {document['round']}: commitments {documents[0].name.split('.')[0]}: {rule}"
        in done.stdout
    )
    (changed / name).unlink()
    done = fedproof("verify", changed, "--partial")
    assert done.returncode == 1
    assert rule in done.stdout


@pytest.mark.slow
def test_verify_finds_a_salt_that_opens_nothing(sealed_run: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(sealed_run, changed)
    (path, *_) = [p for p in (changed / "blobs").rglob("*.json") if '"salt":' in p.read_text()]
    document = json.loads(path.read_text())
    document["contributors"][0]["salt"] = "00" * 32
    path.write_text(json.dumps(document, sort_keys=True, separators=(",", ":")))
    done = fedproof("verify", changed, "--partial")
    assert done.returncode == 1
    assert "an update must open what its contributor committed to" in done.stdout
