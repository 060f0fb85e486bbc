"""Two organisations train a module of their own on their own CSV files, and evaluate each round."""

import json

import pytest
from fedproof_command import fedproof
from live_federation import Federation, live
from safetensors import safe_open

pytestmark = pytest.mark.slow
ROUNDS = 2
MODULE = """
from torch import nn


def network(width):
    return nn.Sequential(
        nn.Linear(30, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, 2)
    )
"""


def test_they_agree_train_evaluate_and_verify(tmp_path):
    federation = live(
        tmp_path,
        names=("clinic", "university"),
        rounds=ROUNDS,
        min_online=2,
        model='kind = "python"\nfunction = "our_networks:network"\noptions = {width = 8}',
        tables="\n[evaluation]\nevery = 1\ntest_share = 0.25\n",
        modules={"our_networks.py": MODULE},
    )
    with federation:
        federation.wait_for_rounds(ROUNDS)
        evaluations = federation.wait_until(
            lambda: evaluated(federation), f"{ROUNDS} rounds are evaluated by both"
        )
        federation.verify()
        said = fedproof(
            "rounds", "--config", federation.root / "participants/clinic/participant.toml"
        )
    assert said.returncode == 0, said.stderr
    for summary in evaluations:
        assert (summary["asked"], summary["answered"], summary["refused"]) == (2, 2, {})
        assert 0 <= summary["metrics"]["accuracy"]["mean"] <= 1, summary
    assert said.stdout.count("claim") >= 1, said.stdout
    for name in ("clinic", "university"):
        state = federation.root / "participants" / name / "state"
        *_, newest = sorted((state / "models").glob("round-*.safetensors"))
        with safe_open(newest, "np") as file:
            assert {"1.running_mean", "1.running_var", "4.weight"} <= set(file.keys())
            assert file.get_tensor("1.running_var").min() >= 0
    report = fedproof("report", federation.root, "--out", tmp_path / "report")
    assert report.returncode == 0, report.stderr
    assert "accuracy" in (tmp_path / "report" / "report.md").read_text()


def evaluated(federation: Federation) -> list[dict]:
    """Return the evaluations, if each round has one."""
    summaries = json.loads(federation.coordinator.get("/evaluations"))["evaluations"]
    return summaries if len(summaries) == ROUNDS else []
