"""How the command ends: one line and a documented status, whatever went wrong."""

import errno
import os
import sys
from collections.abc import Callable

import pytest
import typer

from coordinator.commands import cli
from coordinator.protocol.errors import AggregationError, ConfigError, StoreError
from coordinator.protocol.types import RoundId

Ended = tuple[int, list[str]]
Run = Callable[..., Ended]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command that does ``deed``; return its status and the lines on standard error."""

    def go(deed: Callable[[], object]) -> Ended:
        app = typer.Typer()

        @app.command()
        def command() -> None:
            deed()

        monkeypatch.setattr(sys, "argv", ["fedproof"])
        for stream in ("stdout", "stderr"):  # click wraps them after a broken pipe
            monkeypatch.setattr(sys, stream, getattr(sys, stream))
        with pytest.raises(SystemExit) as ended:
            cli.run(app)
        assert isinstance(ended.value.code, int)
        return ended.value.code, capsys.readouterr().err.splitlines()

    return go


def raising(error: BaseException) -> Callable[[], None]:
    def deed() -> None:
        raise error

    return deed


@pytest.mark.parametrize(
    ("deed", "status", "line"),
    [
        (lambda: None, 0, ""),
        (raising(typer.Exit(3)), 3, ""),
        (raising(ConfigError("rounds = 0")), 2, "fedproof: error: rounds = 0"),
        (raising(AggregationError("too few")), 4, "fedproof: error: too few"),
        (raising(StoreError("a\n  b")), 6, "fedproof: error: a b"),
        (
            raising(OSError(errno.ENOSPC, "No space left on device")),
            6,
            "fedproof: error: No space left on device",
        ),
        (
            raising(OSError(errno.ENOSPC, "No space left on device", "runs/a/plots/b.png")),
            6,
            "fedproof: error: runs/a/plots/b.png: No space left on device",
        ),
        (
            raising(PermissionError(errno.EACCES, "Permission denied", b"runs/a")),
            6,
            "fedproof: error: runs/a: Permission denied",
        ),
    ],
)
def test_what_is_not_our_fault(
    run: Run, deed: Callable[[], object], status: int, line: str
) -> None:
    assert run(deed) == (status, [line] if line else [])


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (KeyError("velocity"), "internal error: KeyError: 'velocity'"),
        (ValueError("a\nb [bold]c[/bold]"), "internal error: ValueError: a b [bold]c[/bold]"),
        (AssertionError(), "internal error: AssertionError:"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), "FileNotFoundError: [Errno 2]"),
        (PermissionError(errno.EACCES, "Permission denied"), "PermissionError: [Errno 13]"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "ConnectionResetError"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "BrokenPipeError"),  # not of our output
        (RecursionError("too deep"), "RecursionError: too deep"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_defect_is_told_in_one_line(run: Run, error: Exception, says: str) -> None:
    status, lines = run(raising(error))
    assert status == cli.INTERNAL == 70
    (line,) = lines
    assert line.startswith("fedproof: error: internal error: ")
    assert says in line
    assert "please report it (FEDPROOF_DEBUG=1 shows where it came from)" in line


def test_the_place_of_a_defect_is_named_and_the_traceback_shown_on_request(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coordinator.protocol.types import address_bytes

    def deed() -> None:
        address_bytes(RoundId(7))  # type: ignore[arg-type]

    status, (line,) = run(deed)
    assert status == 70
    assert "(coordinator/protocol/types.py, line " in line
    monkeypatch.setenv(cli.DEBUG_VARIABLE, "1")
    status, lines = run(deed)
    assert status == 70
    assert lines[0].startswith("Traceback (most recent call last)")
    assert lines[-1] == line


def test_a_reader_that_has_gone_is_no_error(run: Run) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    kept = os.dup(1)
    os.dup2(writing, 1)
    try:
        assert run(lambda: os.write(1, b"x")) == (0, [])
    finally:
        os.dup2(kept, 1)
        for descriptor in (kept, writing):
            os.close(descriptor)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["simulate", "quickstart"], "interrupted; the same command continues where it stopped"),
        (
            ["simulate", "quickstart", "--fresh"],
            "interrupted; the same command without --fresh continues where it stopped",
        ),
        (["client"], "interrupted; the same command continues where it stopped"),
        (["hospitals"], "interrupted; start again with --fresh"),
        (["verify", "run"], "interrupted"),
        (["fund", "1 ether"], "interrupted; what was sent may still be mined: check before"),
        ([], "interrupted"),
    ],
)
def test_an_interruption_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    def interrupted(**_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["fedproof", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.run(interrupted)  # type: ignore[arg-type]
    assert ended.value.code == 130
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fedproof: error: {said}")
    assert said != "interrupted" or line.endswith("interrupted")
