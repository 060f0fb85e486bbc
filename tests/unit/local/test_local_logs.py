"""Logs: the same record as JSON in a file and as a line on the screen."""

import errno
import io
import json
import logging
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path

import pytest

from coordinator.local.logs import fields, start_logging, stop_logging
from coordinator.protocol.errors import StoreError

_log = logging.getLogger("fedproof.test")


@pytest.fixture
def screen():
    root = logging.getLogger()
    level = root.level
    yield io.StringIO()
    stop_logging()
    root.setLevel(level)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_fields_come_out_in_both(tmp_path: Path, screen: io.StringIO):
    path = tmp_path / "logs" / "coordinator.jsonl"
    start_logging(path, screen=screen)
    _log.info("round %d sealed", 3, extra=fields(round=3, root="ab", message="not over mine"))
    _log.debug("too fine")
    (line,) = lines(path)
    assert line["time"].endswith("+00:00")
    del line["time"]
    assert line == {
        "level": "info",
        "logger": "fedproof.test",
        "message": "round 3 sealed",
        "round": 3,
        "root": "ab",
    }
    assert screen.getvalue()[9:].startswith("INFO    round 3 sealed round=3 root=ab")
    assert screen.getvalue().count("\n") == 1


def test_a_traceback_is_one_line_of_json(tmp_path: Path, screen: io.StringIO):
    path = tmp_path / "x.jsonl"
    start_logging(path, level="warning", screen=screen)
    try:
        raise KeyError("gone")
    except KeyError:
        _log.exception("a defect")
    _log.info("not at this level")
    (line,) = lines(path)
    assert line["traceback"].endswith("KeyError: 'gone'")
    assert "KeyError: 'gone'" in screen.getvalue()


def test_starting_again_replaces_and_others_are_quiet(tmp_path: Path, screen: io.StringIO):
    start_logging(tmp_path / "a.jsonl", screen=screen)
    start_logging(tmp_path / "b.jsonl", screen=screen)
    _log.info("once")
    logging.getLogger("flwr").info("chatter")
    logging.getLogger("uvicorn.error").info("chatter")
    assert (tmp_path / "a.jsonl").read_text() == ""
    assert [line["message"] for line in lines(tmp_path / "b.jsonl")] == ["once"]


def test_a_full_log_is_put_aside(tmp_path: Path, screen: io.StringIO):
    path = tmp_path / "x.jsonl"
    start_logging(path, screen=screen, max_bytes=500)
    for number in range(10):
        _log.info("line %d", number)
    assert path.stat().st_size <= 500
    assert (tmp_path / "x.jsonl.1").exists()


class Disk(io.StringIO):
    full = True

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(text)


def test_a_full_disk_loses_lines_and_says_so_once(
    tmp_path: Path, screen: io.StringIO, capsys: pytest.CaptureFixture[str]
):
    start_logging(tmp_path / "x.jsonl", screen=screen)
    (file,) = [h for h in logging.getLogger().handlers if isinstance(h, RotatingFileHandler)]
    file.stream.close()
    disk = file.stream = Disk()
    for _ in range(3):
        _log.info("into the void")
    assert capsys.readouterr().err.count("No space left on device; lines are lost") == 1
    disk.full = False
    _log.info("room again")
    assert json.loads(disk.getvalue())["message"] == "room again"
    disk.full = True
    _log.info("into the void")
    assert capsys.readouterr().err.count("lines are lost") == 1
    assert screen.getvalue().count("into the void") == 4


def test_a_log_that_cannot_be_opened_is_named(tmp_path: Path, screen: io.StringIO):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"log .*file/x\.jsonl"):
        start_logging(tmp_path / "file" / "x.jsonl", screen=screen)
