"""The harness: who runs when, what is repeated, and what the tables say."""

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import harness
from benchmarks.harness import interleaved, read_once, table


def test_rivals_take_turns_after_a_warm_up_and_preparation_is_not_timed():
    calls = []
    timings = interleaved(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")},
        repeats=2,
        prepare={"b": lambda: calls.append("prepare b")},
    )
    assert calls == ["a", "prepare b", "b"] * 3
    assert [timings["a"].runs, timings["b"].runs] == [2, 2]


def test_the_first_run_of_a_slow_rival_counts(monkeypatch):
    monkeypatch.setattr(harness, "SLOW_S", -1.0)
    calls = []
    timings = interleaved({"slow": lambda: calls.append(1)}, repeats=5)
    assert (len(calls), timings["slow"].runs) == (5, 5)


def test_read_once_sees_every_value():
    rows = [np.zeros(100_000, np.int32) for _ in range(3)]
    assert read_once(rows) == 0
    rows[2][99_999] = 8
    assert read_once(rows) == 8


def test_table_aligns_numbers_and_leaves_gaps_empty():
    rows = [{"name": "x", "ms": 1234.5, "n": 10_000}, {"name": "y", "ms": 0.12345, "note": "once"}]
    assert table(rows).splitlines() == [
        "| name | ms | n | note |",
        "|---|---:|---:|---|",
        "| x | 1,234 | 10,000 |  |",
        "| y | 0.123 |  | once |",
    ]


def test_a_partial_run_replaces_only_its_section(tmp_path, monkeypatch):
    results = tmp_path / "RESULTS.md"
    monkeypatch.setattr(command, "RESULTS", results)
    monkeypatch.setattr(command, "discover", lambda: ["first", "second"])
    texts = {"first": "## first\n\nold\n", "second": "## second\n\nkept\n"}
    monkeypatch.setattr(command, "section", lambda name: texts[name])
    monkeypatch.setattr("sys.argv", ["benchmarks"])
    assert command.main() == 0
    texts["first"] = "## first\n\nnew\n"
    monkeypatch.setattr("sys.argv", ["benchmarks", "first"])
    assert command.main() == 0
    sections = command.read_sections(results.read_text())
    assert sections == {"first": "## first\n\nnew\n", "second": "## second\n\nkept\n"}


def test_a_broken_benchmark_costs_only_itself(tmp_path, monkeypatch, capsys):
    def section(name):
        if name == "bad":
            raise ValueError("no such contract")
        return f"## {name}\n"

    monkeypatch.setattr(command, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(command, "discover", lambda: ["bad", "good"])
    monkeypatch.setattr(command, "section", section)
    monkeypatch.setattr("sys.argv", ["benchmarks"])
    assert command.main() == 1
    assert "bad failed: ValueError: no such contract" in capsys.readouterr().err
    assert "## good" in (tmp_path / "RESULTS.md").read_text()


def test_unknown_name_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmarks", "nothing"])
    with pytest.raises(SystemExit, match="2"):
        command.main()
    assert "unknown benchmark 'nothing', expected some of: aggregation" in capsys.readouterr().err
