"""The wheel has all that a run needs, wherever it is installed and whatever folder one is in."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("coordinator", "clients", "contracts", "simulations")
FILES = ("pyproject.toml", "README.md", "LICENSE", "fedproof.py")
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


def run(*command: str | Path, **options: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def files_of(root: Path, package: str) -> set[Path]:
    """Return the files of a package, but for documents and what was compiled."""
    found = (path for path in (root / package).rglob("*") if path.is_file())
    return {
        path.relative_to(root)
        for path in found
        if "__pycache__" not in path.parts and path.suffix != ".md"
    }


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the built wheel installed in it, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy: setuptools writes beside what it builds
    source.mkdir()
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, source / name)
    run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", folder / "dist", source)
    (wheel,) = (folder / "dist").glob("*.whl")
    run(*PIP, "install", "--no-deps", "--no-index", "--target", folder / "site", wheel)
    shutil.rmtree(source)
    return folder / "site"


@pytest.fixture
def env(installed: Path) -> dict[str, str]:
    """An environment that finds the project in the wheel first, and dependencies as here."""
    return {**os.environ, "PYTHONPATH": str(installed), "COLUMNS": "200", "NO_COLOR": "1"}


def test_every_file_of_the_packages_is_in_it(installed: Path) -> None:
    for name in PACKAGES:
        assert files_of(installed, name) == files_of(ROOT, name)
        assert (installed / name / "py.typed").is_file()
    assert (installed / "fedproof.py").read_bytes() == (ROOT / "fedproof.py").read_bytes()


def test_it_says_which_python_it_runs_on(installed: Path) -> None:
    (metadata,) = installed.glob("fedproof-*.dist-info/METADATA")
    lines = metadata.read_text().splitlines()
    assert "Requires-Python: >=3.11" in lines
    assert "Name: fedproof" in lines


@pytest.mark.slow
def test_the_quickstart_runs_from_it_in_any_folder(
    installed: Path, env: dict[str, str], tmp_path: Path
) -> None:
    imported = "import coordinator, simulations; print(coordinator.__file__, simulations.__file__)"
    found = run(sys.executable, "-c", imported, cwd=tmp_path, env=env).split()
    assert all(Path(file).is_relative_to(installed) for file in found)
    command = [sys.executable, installed / "bin" / "fedproof"]
    done = run(
        *command, "simulate", "quickstart", "--set", "rounds=1", "--workers", "1", "--json",
        cwd=tmp_path, env=env,
    )  # fmt: skip
    assert json.loads(done)["run"] == "runs/quickstart"
    verified = run(*command, "verify", "runs/quickstart", cwd=tmp_path, env=env)
    assert "OK    runs/quickstart: 1 rounds hold" in verified
