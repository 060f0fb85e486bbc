"""A coordinator's attack from outside the package: a whole run in which it is convicted."""

import json
from pathlib import Path

import pytest

from coordinator.protocol.errors import ConfigError
from simulations.experiment.load import load_experiment
from simulations.run.result import RunOptions
from simulations.run.simulation import run_experiment

MODULE = '''
"""A coordinator that gives one contributor the weight of all others."""

from simulations.attacks.coordinator.base import VictimAttack
from simulations.attacks.coordinator.forging import weighted


class Favour(VictimAttack):
    """Gives ``victim`` all the weight."""

    def change_result(self, result, context):
        place = context.place_of(result, self.victim)
        total = sum(entry.leaf.weight for entry in result.entries)
        weights = [total if at == place else 0 for at in range(len(result.entries))]
        return context.reaggregated(result, weighted(result.entries, weights), result.updates)
'''


def test_it_is_convicted_as_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_coordinator_attacks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    config = tmp_path / "favour.toml"
    config.write_text(
        """
rounds = 2
data = {kind = "digits", max_train = 240}
partition = {clients = 5}
model = {kind = "logistic"}
chain = {challenge_window_s = 60}
watcher = {enabled = true}
stake = {coordinator_minimum_wei = "8 ether", coordinator_slash_bps = 2000}

[[coordinator_attacks]]
kind = "my_coordinator_attacks:Favour"
round = 1
victim = 2
"""
    )
    run_experiment(load_experiment(config), tmp_path / "run", RunOptions(workers=1))
    record = json.loads((tmp_path / "run" / "coordinator.json").read_text())
    assert [(c["round"], c["offence"]) for c in record["convictions"]] == [
        (1, "leaf: wrong weight")
    ]
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["void", "final"]


HOOKS = {
    "change_result": "self, result, context",
    "seal_before": "self, model_root",
    "seal_after": "self, base_root",
    "change_settlement": "self, scored, context",
}


@pytest.mark.parametrize("hook", HOOKS)
def test_one_that_raises_is_its_authors_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: str
) -> None:
    module = f"raising_{hook}"
    (tmp_path / f"{module}.py").write_text(
        "from fedproof import CoordinatorAttack\n\n\nclass Raises(CoordinatorAttack):\n"
        f"    def {hook}({HOOKS[hook]}):\n        return {{}}[3]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    experiment = load_experiment(
        {
            "rounds": 1,
            "data": {"kind": "digits", "max_train": 60},
            "partition": {"clients": 3},
            "model": {"kind": "logistic"},
            "coordinator_attacks": [{"kind": f"{module}:Raises", "round": 1}],
        }
    )
    expected = (
        rf'^coordinator_attacks\.kind = "{module}:Raises", round 1: {hook} raised '
        rf"KeyError: 3 \({module}\.py, line 6\)$"
    )
    with pytest.raises(ConfigError, match=expected):
        run_experiment(experiment, tmp_path / "run", RunOptions(workers=1))
