"""Fixtures of the experiment tests: config files, and the data folder where there is one."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from simulations.load import load_experiment
from simulations.schema import Experiment

NEARBY = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture
def data_folder() -> Path:
    """The folder with fashion-mnist/ and heart-disease/; skips, saying why, where it is absent."""
    folder = Path(os.environ.get("FEDPROOF_DATA", "") or NEARBY)
    if not (folder / "heart-disease").is_dir():
        pytest.skip(f"no real data: {folder}/heart-disease is missing (set FEDPROOF_DATA)")
    return folder


@pytest.fixture
def experiment(tmp_path: Path) -> Callable[..., Experiment]:
    """Load an experiment from TOML text and overrides."""

    def load(text: str = "", *overrides: str, seed: int | None = None) -> Experiment:
        file = tmp_path / "experiment.toml"
        file.write_text(text)
        return load_experiment(file, overrides, seed)

    return load
