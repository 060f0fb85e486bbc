"""The same config gives the same bytes: with one worker and with four, and on a second run."""

import json
from pathlib import Path

import pytest
from fedproof_command import fedproof, write_tiny

EXTRA = """
[[behaviours]]
kind = "equivocate"
clients = [4]
from_round = 2

[[behaviours]]
kind = "nan"
clients = [3]
"""


def run(folder: Path, name: str, workers: int) -> Path:
    config = folder / "tiny.toml"
    out = folder / name
    done = fedproof("simulate", config, "--out", out, "--workers", str(workers))
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
def test_workers_and_repetition_change_nothing(tmp_path: Path) -> None:
    write_tiny(tmp_path, EXTRA)
    first, second = run(tmp_path, "one", 1), run(tmp_path, "four", 4)
    for name in ("federation.json", "contributors.json", "config.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    roots = [
        [
            (r["model_root"], r["contributors_root"], r["refusals"], r["paid_wei"])
            for r in map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
        ]
        for out in (first, second)
    ]
    assert roots[0] == roots[1]
    # and the two cheats were dealt with, each in its own way
    people = {p["behaviour"]: p for p in json.loads((first / "contributors.json").read_text())}
    assert people["nan"]["accepted"] == 0
    assert sum(people["nan"]["refusals"].values()) == 4
    cheat = people["equivocate"]
    assert (cheat["accepted"], cheat["stake_wei"]) == (1, 0)
    assert cheat["slashed_wei"] == 10**18
