"""The coordinator's notes of evaluations: kept by round, read back as summaries."""

from pathlib import Path

import pytest

from coordinator.protocol.errors import StoreError
from coordinator.protocol.round.evaluation import EvaluationSummary, Spread
from coordinator.protocol.types import RoundId
from coordinator.stores import evaluations
from coordinator.stores.evaluations import EvaluationFolder


def summary(number: int) -> EvaluationSummary:
    metrics = {"loss": Spread(number, number, number, number)}
    return EvaluationSummary(RoundId(number), bytes(32), 1, 1, 5, {}, metrics)


def filled(root: Path, *numbers: int) -> EvaluationFolder:
    folder = EvaluationFolder(root)
    for number in numbers:
        folder.put(summary(number), summary(number).as_json())
    return folder


def test_the_newest_come_in_order(tmp_path: Path):
    folder = filled(tmp_path / "e", 2, 9, 10, 1_000_000)
    assert folder.rounds() == [2, 9, 10, 1_000_000]
    assert folder.last(2) == [summary(10), summary(1_000_000)]
    assert folder.newest == summary(1_000_000)


def test_another_process_reads_the_same(tmp_path: Path):
    filled(tmp_path, 1, 2)
    again = EvaluationFolder(tmp_path)
    assert again.newest is None
    assert again.last(1) == [summary(2)]
    assert again.newest == summary(2)
    assert again.last(9) == [summary(1), summary(2)]


def test_there_is_no_folder_before_the_first(tmp_path: Path):
    folder = EvaluationFolder(tmp_path / "none")
    assert (folder.last(5), folder.rounds(), folder.newest) == ([], [], None)
    assert not (tmp_path / "none").exists()


def test_what_is_no_evaluation_is_left_out(tmp_path: Path):
    filled(tmp_path, 3)
    (tmp_path / "000004.json").write_text("{")
    (tmp_path / "000005.json").mkdir()
    (tmp_path / "notes.txt").write_text("")
    assert EvaluationFolder(tmp_path).last(9) == [summary(3)]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file: Not a directory"):
        EvaluationFolder(tmp_path / "file").last(1)


def test_only_so_many_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(evaluations, "_REMEMBERED", 2)
    folder = filled(tmp_path, 1, 2, 3)
    assert len(folder._summaries) == 2
    assert folder.last(9) == [summary(1), summary(2), summary(3)]
