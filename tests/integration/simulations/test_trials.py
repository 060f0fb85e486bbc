"""docs/trials.md: the modules it shows are refused, and pass once mended, as it says."""

import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from coordinator.protocol.errors import OutsideCodeError
from simulations.data import load_dataset
from simulations.experiment.load import load_experiment
from simulations.experiment.schema import Experiment
from simulations.run.agreement import try_own_code

PAGE = (Path(__file__).parents[3] / "docs" / "trials.md").read_text()
FILES = dict(
    re.findall(r"^`(my_\w+\.py|mine\.toml)`[^\n]*:\n\n```\w+\n(.*?)^```$", PAGE, re.S | re.M)
)
MENDED = re.findall(r"^Its last line becomes\n\n```python\n(.*?)```$", PAGE, re.S | re.M)[0]


def own_name(text: str) -> str:
    """Return a text with names of modules that no other test has."""
    return text.replace("my_", "trials_")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in FILES.items():
        (tmp_path / own_name(name)).write_text(own_name(text))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in FILES:
        sys.modules.pop(own_name(name).removesuffix(".py"), None)


def tried(folder: Path) -> Experiment:
    experiment = load_experiment(folder / "mine.toml")
    try_own_code(experiment, partial(load_dataset, experiment.data, None, experiment.seed))
    return experiment


def test_the_page_has_all_files() -> None:
    names = ["my_rules.py", "my_attacks.py", "my_metrics.py", "my_data.py", "mine.toml"]
    assert [*FILES] == names


def test_the_first_krum_is_refused_in_the_words_of_the_page(folder: Path) -> None:
    with pytest.raises(OutsideCodeError) as refused:
        tried(folder)
    assert f"fedproof: error: mine.toml: {refused.value}\n" in own_name(PAGE)


def test_the_mended_one_passes(folder: Path) -> None:
    last = "    return given.updates[scores.argmin()]\n"
    rules = folder / own_name("my_rules.py")
    assert FILES["my_rules.py"].count(last) == 1
    rules.write_text(FILES["my_rules.py"].replace(last, MENDED))
    experiment = tried(folder)
    assert [metric.name for metric in experiment.metrics] == ["recall_first", "recall_second"]
