"""The picture of docs/architecture.md is drawn from the sources, and is the one committed."""

from pathlib import Path

import pytest

from benchmarks import architecture


def test_the_picture_is_of_these_sources() -> None:
    assert architecture.PICTURE.read_text() == architecture.drawing(), "run `make picture`"


def test_every_step_of_the_page_has_its_place() -> None:
    numbers = {number for places in architecture.steps().values() for number in places}
    assert numbers == set(range(1, 11))


def test_a_step_that_names_a_file_that_is_gone_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "architecture.md"
    page.write_text("1. **Carried.** By `clients/mod/pigeon.py`.\n")
    monkeypatch.setattr(architecture, "PAGE", page)
    with pytest.raises(ValueError, match=r"step 1 names clients/mod/pigeon\.py"):
        architecture.steps()


def test_a_page_without_steps_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "architecture.md"
    page.write_text("Nothing numbered.\n")
    monkeypatch.setattr(architecture, "PAGE", page)
    with pytest.raises(ValueError, match="no numbered steps"):
        architecture.steps()


def test_an_arrow_that_follows_from_others_is_left_out() -> None:
    arrows = architecture.arrows()
    assert "coordinator.protocol" in arrows["coordinator.ports"]
    assert "coordinator.protocol" not in arrows["coordinator.service"]  # by its ports
    assert all(box != "coordinator.protocol" or not below for box, below in arrows.items())


def test_boxes_are_found_by_dotted_name_and_by_path() -> None:
    assert architecture.box_of("coordinator.flower.records") == "coordinator.flower"
    assert architecture.box_of("coordinator/ports.py") == "coordinator.ports"
    assert architecture.box_of("contracts/src/referee") == "contracts.src"
    assert architecture.box_of("simulations.seeds") is None
