"""Fixtures of the experiment tests: config files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from simulations.experiment.load import load_experiment
from simulations.experiment.schema import Experiment


@pytest.fixture
def experiment(tmp_path: Path) -> Callable[..., Experiment]:
    """Load an experiment from TOML text and overrides."""

    def load(text: str = "", *overrides: str, seed: int | None = None) -> Experiment:
        file = tmp_path / "experiment.toml"
        file.write_text(text)
        return load_experiment(file, overrides, seed)

    return load
