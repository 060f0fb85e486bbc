"""Every shipped attack, run by the command as a reader would: what it promises, happens.

Only the number of rounds is cut, to one after the last attack. A run costs some ten seconds of
processor time, so without ``FEDPROOF_FAULTS=full`` (``make faults``) it is two of them; each kind
of attack is in ``test_eight_attacks`` on a smaller federation.
"""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark.structures import ParameterSet
from fedproof_command import fedproof

from simulations.experiment.load import shipped_experiments

ETHER = 10**18

# Per config: the attacked rounds with all that is void, and what the coordinator is convicted of.
PROVEN = {
    "attack_count_twice": ({3}, "leaves: same contributor"),
    "attack_drop_weight": ({2, 3}, "leaf: wrong weight"),
    "attack_pay_self": ({2, 4}, "reward: not a member"),
    "attack_shift": ({3}, "wrong aggregate"),
    "attack_unsigned_leaf": ({3}, "leaf: invalid signature"),
    "attack_withhold": ({3}, "withheld data"),
}
REFUSED = {
    "attack_seal_early": "round: seals early",
    "attack_seal_twice": "round: not open",
}
ROUNDS = {"attack_pay_self": 5}
"""The others are over after four."""
ALWAYS = {"attack_pay_self", "attack_shift"}
FULL = os.environ.get("FEDPROOF_FAULTS") == "full"


def cases(names: Iterable[str]) -> list[ParameterSet]:
    """Return test parameters, those marked that a plain run leaves out."""
    skipped = pytest.mark.skipif(not FULL, reason="run by make faults (FEDPROOF_FAULTS=full)")
    return [pytest.param(name, marks=() if name in ALWAYS else skipped) for name in names]


def test_every_shipped_attack_is_run() -> None:
    assert set(PROVEN) | set(REFUSED) == {
        n for n in shipped_experiments() if n.startswith("attack_")
    }


def run(name: str, folder: Path) -> tuple[dict[str, Any], dict[int, str]]:
    """Simulate and verify; return what became of the coordinator, and each round's status."""
    out, rounds = folder / "run", ROUNDS.get(name, 4)
    done = fedproof("simulate", name, "--out", out, "--workers", "1", "--set", f"rounds={rounds}")
    assert done.returncode == 0, done.stderr
    verified = fedproof("verify", out)
    assert verified.returncode == 0, verified.stdout
    found = re.findall(r"^ok +round +(\d+) +(final|void)(.*)$", verified.stdout, re.MULTILINE)
    statuses = {int(number): f"{status}{rest}" for number, status, rest in found}
    assert list(statuses) == list(range(1, rounds + 1))
    return json.loads((out / "coordinator.json").read_text()), statuses


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", cases(PROVEN))
def test_the_coordinator_is_convicted_and_training_goes_on(name: str, tmp_path: Path) -> None:
    void, offence = PROVEN[name]
    coordinator, statuses = run(name, tmp_path)
    assert {number for number, text in statuses.items() if text.startswith("void")} == void
    assert statuses[max(statuses)].startswith("final")
    bond = 10 * ETHER
    assert len(coordinator["convictions"]) == (2 if name == "attack_pay_self" else 1)
    for conviction in coordinator["convictions"]:
        slashed = bond // 5
        assert conviction["offence"] == offence
        assert conviction["round"] in void
        assert offence in statuses[conviction["round"]]
        assert int(conviction["slashed_wei"]) == slashed
        assert int(conviction["bounty_wei"]) == int(conviction["burned_wei"]) == slashed // 2
        bond -= slashed
        assert int(conviction["bond_after_wei"]) == bond
    if name == "attack_pay_self":
        assert int(coordinator["bonded_wei"]) == 10 * ETHER + (10 * ETHER - bond)
        bond = 10 * ETHER
    assert int(coordinator["bond_wei"]) == bond


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", cases(REFUSED))
def test_the_contract_refuses_and_the_round_goes_on(name: str, tmp_path: Path) -> None:
    coordinator, statuses = run(name, tmp_path)
    assert all(text.startswith("final") for text in statuses.values())
    assert coordinator["convictions"] == []
    assert [(r["round"], r["refused"]) for r in coordinator["refused"]] == [(3, REFUSED[name])]
    assert int(coordinator["bond_wei"]) == 10 * ETHER
