"""The shipped experiments do what their comments promise, shortened where that changes nothing."""

import json
from pathlib import Path

import pytest
from fedproof_command import fedproof


def simulate(tmp_path: Path, name: str, *options: str) -> tuple[Path, dict[str, object]]:
    out = tmp_path / name
    done = fedproof("simulate", name, "--out", out, "--json", *options)
    assert done.returncode == 0, done.stderr
    verified = fedproof("verify", out)
    assert verified.returncode == 0, verified.stdout
    return out, json.loads(done.stdout)


@pytest.mark.slow
def test_free_riders_earn_nothing_and_the_equivocator_loses_its_bond(tmp_path: Path) -> None:
    out, answer = simulate(tmp_path, "free_riders", "--set", "rounds=4")
    people = json.loads((out / "contributors.json").read_text())
    earned = {p["behaviour"]: p["earned_wei"] for p in people if p["behaviour"] != "honest"}
    assert {earned[kind] for kind in ("replay", "copy", "noise")} == {0}
    assert sum(p["earned_wei"] for p in people if p["behaviour"] == "honest") > 0
    (cheat,) = [p for p in people if p["behaviour"] == "equivocate"]
    assert (cheat["stake_wei"], cheat["slashed_wei"]) == (0, 2 * 10**18)
    assert (cheat["accepted"], cheat["refusals"]["equivocation"]) == (2, 1)
    assert float(str(answer["test_accuracy"])) > 0.85


@pytest.mark.slow
def test_the_four_hospitals_train_one_model(tmp_path: Path, real_data: Path) -> None:
    out, answer = simulate(tmp_path, "heart_disease", "--data", str(real_data))
    people = json.loads((out / "contributors.json").read_text())
    assert {p["label"] for p in people} == {"cleveland", "hungarian", "switzerland", "va"}
    assert float(str(answer["test_accuracy"])) > 0.78
    assert all(p["accepted"] > 0 for p in people)


@pytest.mark.slow
def test_fashion_mnist_learns(tmp_path: Path, real_data: Path) -> None:
    small = ["--set", "rounds=3", "--set", "data.max_train=6000", "--set", "data.max_test=1000"]
    _, answer = simulate(tmp_path, "fashion_mnist", "--data", str(real_data), *small)
    assert float(str(answer["test_accuracy"])) > 0.5
