"""One founded federation, copied for each test that changes it: keys take a second each."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clients.data.load import load_data
from coordinator.founding.create import Founded, create_federation

HEART = """
name = "heart"
seed = 3

[input]
shape = [3]
classes = 2

[features]
names = ["age", "chol", "thalach"]
mean = [55.0, 220.0, 140.0]
scale = [10.0, 50.0, 25.0]
label = "disease"

[model]
kind = "mlp"
hidden = [4]

[round]
min_contributors = 2
rounds = 3
duration_s = 60

[windows]
challenge_window_s = 5
unbonding_s = 600
answer_s = 60

[stake]
minimum_wei = "2 ether"
"""
PEOPLE = """
[[participants]]
name = "zurich"

[[participants]]
name = "basel"
"""


def write_config(folder: Path, text: str = HEART + PEOPLE) -> Path:
    path = folder / "federation.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="session")
def _heart(tmp_path_factory: pytest.TempPathFactory) -> Founded:
    folder = tmp_path_factory.mktemp("founding")
    return create_federation(write_config(folder), folder / "heart", load_examples=load_data)


@pytest.fixture
def founded(_heart: Founded) -> Founded:
    """A federation on the embedded chain, to be looked at only."""
    return _heart


@pytest.fixture
def heart(_heart: Founded, tmp_path: Path) -> Path:
    """A copy of its folder, to be changed."""
    return Path(shutil.copytree(_heart.folder.root, tmp_path / "heart"))


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Path]:
    """Return a writer of ``federation.toml``."""
    return lambda text=HEART + PEOPLE: write_config(tmp_path, text)
