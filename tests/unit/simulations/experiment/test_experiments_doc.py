"""docs/experiments.md is a reference: every key and kind, with its default where it has one."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from coordinator.settings.load import options_by_kind
from simulations.experiment.load import shipped_experiments
from simulations.experiment.schema import Experiment

TEXT = (Path(__file__).parents[4] / "docs" / "experiments.md").read_text()
SECTIONS = [name for name in Experiment.model_fields if f"[{name}]" in TEXT]


def passage(section):
    """The part of the page under the heading that names a section."""
    found = re.search(rf"^## [^\n]*\[{section}\].*?(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"no heading for [{section}]"
    return found[0]


def named(key, text):
    return f"`{key}`" in text or f".{key}`" in text


def test_every_section_has_a_heading():
    tables = {
        name
        for name, field in Experiment.model_fields.items()
        if isinstance(field.default, BaseModel | list)
    }
    assert set(SECTIONS) == tables


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_and_kind_is_there(section):
    text = passage(section)
    default = Experiment.model_fields[section].default
    keys = set(type(default).model_fields) if isinstance(default, BaseModel) else set()
    for kind, options in options_by_kind(section, Experiment).items():
        assert named(kind, text)
        keys |= options
    assert [key for key in sorted(keys - {"kind"}) if not named(key, text)] == []


def test_every_behaviour_has_a_row():
    rows = re.findall(r"^\| `(\w+)` \|", passage("behaviours"), re.MULTILINE)
    assert sorted(rows[1:]) == sorted(options_by_kind("behaviours", Experiment))
    assert rows[0] == "kind"


def test_the_defaults_given_are_the_defaults():
    experiment = Experiment.model_validate({})
    for section in ("training", "numbers", "evaluation", "chain"):
        rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", passage(section), re.MULTILINE)
        found = {key: type(getattr(getattr(experiment, section), key))(v) for key, v in rows}
        assert found == getattr(experiment, section).model_dump()


def test_every_shipped_experiment_is_listed():
    rows = re.findall(r"^\| `(\w+)` \|", TEXT.split("## Values")[0], re.MULTILINE)
    assert sorted(rows) == list(shipped_experiments())
