"""The Flower apps of ``docs/examples``: plain, and made verifiable by at most six lines."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "docs" / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/pyproject.toml"))
MOST_LINES = 6


def copy_of(name: str, folder: Path) -> Path:
    app = folder / name
    shutil.copytree(EXAMPLES / name, app, ignore=shutil.ignore_patterns("__pycache__"))
    return app


def make_verifiable(app: Path) -> None:
    """Apply the example's own diff, as its reader would."""
    applied = subprocess.run(
        ["git", "apply", "-v", "verifiable.diff"],
        cwd=app,
        capture_output=True,
        text=True,
        env={**os.environ, "GIT_CEILING_DIRECTORIES": str(app.parent)},
    )
    assert applied.returncode == 0, applied.stderr


def run(app: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / "run.py"), str(app), "--nodes", "4", "--workers", "1"]
    return subprocess.run(command, cwd=app.parent, capture_output=True, text=True, timeout=300)


def test_there_are_the_six_examples_that_the_page_names():
    page = (EXAMPLES / "README.md").read_text()
    assert len(NAMES) == 6
    assert re.findall(r"^\| \[`([\w-]+)`\]\(\1/\) \|", page, re.MULTILINE) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_at_most_six_lines_change(name: str):
    diff = (EXAMPLES / name / "verifiable.diff").read_text().splitlines()
    added = [line for line in diff if re.match(r"\+(?!\+\+)", line)]
    assert 0 < len(added) <= MOST_LINES
    assert len([line for line in diff if re.match(r"-(?!--)", line)]) <= len(added)


@pytest.mark.slow
def test_an_example_runs_without_fedproof_too(tmp_path: Path):
    app = copy_of("quickstart-numpy", tmp_path)
    done = run(app)
    assert done.returncode == 0, done.stderr
    assert "Received 4 results and 0 failures" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NAMES)
def test_a_converted_example_ends_in_a_folder_that_verifies(name: str, tmp_path: Path):
    app = copy_of(name, tmp_path)
    make_verifiable(app)
    done = run(app)
    assert done.returncode == 0, done.stderr
    assert "aggregate_train: Accepted 4 updates and refused 0" in done.stderr
    verified = subprocess.run(
        [sys.executable, "-m", "fedproof", "verify", f"runs/{name}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert len(re.findall(r"^ok   round", verified.stdout, re.MULTILINE)) >= 2
