"""A rule and a score from outside the package: run, and audited with and without them.

Mistakes in them are in ``test_bad_outside_rules.py``.
"""

import json
import re
import shutil
from pathlib import Path

import pytest
from fedproof_command import ROOT, fedproof

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
CONFIG = """
rounds = 2
partition = {clients = 6}
model = {kind = "logistic"}
training = {learning_rate = 0.5}
aggregator = {kind = "my_rules:KRUM", num_byzantine = 1, keep = 3}
scoring = {kind = "my_scores:BY_NORM", cap = 1000000}
"""
EXTENSIONS = ("--extension", "my_rules:KRUM", "--extension", "my_scores:BY_NORM")


def example(heading: str) -> str:
    """Return the code under a heading of the page, with the imports of a module of one's own."""
    code = re.findall(rf"^## {heading}\n.*?```python\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)[0]
    return re.sub(r"^from coordinator\.[\w.]+ import", "from fedproof import", code, flags=re.M)


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a module for each, and a finished run."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "my_rules.py").write_text(example("Add an aggregation rule"))
    (folder / "my_scores.py").write_text(example("Add a score"))
    (folder / "mine.toml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        done = fedproof("simulate", folder / "mine.toml", "--out", folder / "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"fedproof verify {folder / 'run'} {' '.join(EXTENSIONS)}" in done.stdout
    return folder


@pytest.fixture
def on_path(mine: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(mine))
    return mine


def other_module(folder: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    """Put another version of the rule on the import path."""
    folder.mkdir(exist_ok=True)
    code = example("Add an aggregation rule")
    assert old in code
    (folder / "my_rules.py").write_text(code.replace(old, new))
    (folder / "my_scores.py").write_text(example("Add a score"))
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_with_ones_own_copy_the_run_verifies(on_path: Path) -> None:
    done = fedproof("verify", on_path / "run", *EXTENSIONS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 rounds hold" in done.stdout


def test_without_it_nothing_is_imported_and_nothing_is_said_to_hold(on_path: Path) -> None:
    done = fedproof("verify", on_path / "run")
    assert done.returncode == 2
    assert "NOT VERIFIED round 1: 1 artifact" in done.stdout
    assert "FAULT" not in done.stdout
    assert "OK " not in done.stdout
    assert "2 rounds from 1 to 2: rule: kind is my_rules:KRUM, number 4" in done.stderr
    assert "--extension MODULE:NAME" in done.stderr
    found = json.loads(fedproof("verify", on_path / "run", "--json").stdout)
    assert found["ok"] is False
    assert found["faults"] == []
    assert [one["unknown"] for one in found["unread"]] == [True, True]


def test_the_score_alone_is_missing(on_path: Path) -> None:
    done = fedproof("verify", on_path / "run", *EXTENSIONS[:2])
    assert done.returncode == 2
    assert "kind is my_scores:BY_NORM, which this process has not loaded" in done.stderr


def test_signatures_are_checked_all_the_same(on_path: Path, tmp_path: Path) -> None:
    shutil.copytree(on_path / "run", tmp_path / "run")
    update = next((tmp_path / "run" / "blobs").rglob("*.safetensors"))
    data = bytearray(update.read_bytes())
    data[-1] ^= 1
    update.chmod(0o644)
    update.write_bytes(data)
    done = fedproof("verify", tmp_path / "run")
    assert done.returncode == 1
    assert "FAULT" in done.stdout


def test_code_of_another_number_is_another_rule(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_module(tmp_path, monkeypatch, "number=4", "number=5")
    done = fedproof("verify", mine / "run", *EXTENSIONS)
    assert done.returncode == 2
    assert "this process has loaded number 5 of it" in done.stderr


def test_code_that_gives_other_results_is_told_by_the_round(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_module(tmp_path, monkeypatch, "sorted(scores)[:keep]", "sorted(scores)[-keep:]")
    done = fedproof("verify", mine / "run", *EXTENSIONS)
    assert done.returncode == 1
    assert "new model must be what the rule gives" in done.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("KRUM", '"KRUM": expected module:NAME'),
        ("nobodys:KRUM", "module nobodys cannot be imported"),
        ("my_rules:KRUMM", 'did you mean "my_rules:KRUM"?'),
        ("my_rules:krum", "found function"),
    ],
)
def test_an_extension_that_is_none(on_path: Path, name: str, message: str) -> None:
    done = fedproof("verify", on_path / "run", "--extension", name)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
