"""The code that CONTRIBUTING.md shows: taken from the page, and run from a module of one's own."""

import re
from pathlib import Path

import pytest
from fedproof_command import fedproof

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()


def blocks(heading: str, language: str) -> list[str]:
    """Return the fenced blocks of a section, by their language."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def from_outside(code: str) -> str:
    """Return code of the package as it is written outside it: public imports, no ``kind``."""
    public = re.sub(r"^from simulations\.[\w.]+ import", "from fedproof import", code, flags=re.M)
    return re.sub(r"^    kind: Literal.*\n", "", public, flags=re.M)


def test_the_headings_are_in_their_order() -> None:
    assert re.findall(r"^## (.*)$", PAGE, re.MULTILINE) == [
        "Set-up",
        "The one command",
        "Where things are",
        "Add a part of an experiment",
        "Add an aggregation rule",
        "Add an attack",
        "Add a score",
        "Add a data set",
        "Add a model",
        "Add a partition",
        "Add a metric",
        "Add a contract call",
        "Conventions",
    ]


@pytest.mark.slow
def test_the_attack_runs_from_a_module_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,), (table, *_) = blocks("Add an attack", "python"), blocks("Add an attack", "toml")
    (tmp_path / "my_attacks.py").write_text(from_outside(code))
    (tmp_path / "flipped.toml").write_text(
        'name = "flipped"\nrounds = 1\n\n' + table.replace('"label_flip"', '"my_attacks:LabelFlip"')
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = fedproof("simulate", "flipped.toml", "--workers", "1", cwd=tmp_path, fresh=True)
    assert done.returncode == 0, done.stderr
    behaviours = re.findall(r"^client (\d)\s+(\S+)", done.stdout, re.MULTILINE)
    assert [client for client, kind in behaviours if kind != "honest"] == ["3", "7"]
    assert fedproof("verify", "runs/flipped", cwd=tmp_path).returncode == 0
