"""Who answers an earlier instruction than its last is out of step, until it answers its last."""

from pathlib import Path

import pytest

from coordinator.flower import instruction_order
from coordinator.flower.instruction_order import (
    HandedInstruction,
    InstructionOrder,
    OrderReport,
)

KEY, OTHER = b"key", b"other"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "order.json"


def test_a_node_that_comes_out_of_step_and_back(file: Path) -> None:
    order = InstructionOrder(file)
    order.handed(OTHER, [HandedInstruction("o", 8)])
    for earlier, newest in (("a", "b"), ("b", "c")):
        order.handed(KEY, [HandedInstruction(earlier, 7)])
        order.handed(KEY, [HandedInstruction(newest, 7)])
        assert not order.answered(KEY, earlier)
        assert not order.answered(KEY, earlier)  # an answer lost on the way: counts once
    assert OrderReport.read(file) == order.report == OrderReport({7: 2}, frozenset({7}))
    assert order.answered(OTHER, "o")
    assert order.report.behind == {7}
    assert order.answered(KEY, "c")
    assert OrderReport.read(file) == OrderReport({7: 2}, frozenset())


def test_what_was_handed_out_in_an_earlier_life_is_not_judged(file: Path) -> None:
    order = InstructionOrder(file)
    assert order.answered(KEY, "a")
    order.handed(KEY, [])
    assert order.answered(KEY, "a")
    assert order.report == OrderReport()


def test_a_new_life_begins_with_an_empty_report(file: Path) -> None:
    OrderReport({7: 2}, frozenset({7})).write(file)
    InstructionOrder(file)
    assert OrderReport.read(file) == OrderReport()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"late": 1, "behind": []}', '{"late": {}}'])
def test_a_report_that_cannot_be_read_says_nothing(file: Path, text: str) -> None:
    file.write_text(text)
    assert OrderReport.read(file) == OrderReport()


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instruction_order, "NODES", 2)
    order = InstructionOrder()
    for node in range(5):
        key = b"%d" % node
        order.handed(key, [HandedInstruction("a", node), HandedInstruction("b", node)])
        assert not order.answered(key, "a")
    assert order.report == OrderReport({3: 1, 4: 1}, frozenset({3, 4}))
