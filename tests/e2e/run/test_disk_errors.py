"""A disk that refuses is told in one line that names the file, and ends with status 6."""

import errno
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fedproof_command import fedproof, write_tiny

import simulations.cli
import simulations.report.markdown
from coordinator.commands import cli
from coordinator.local.files import append
from coordinator.protocol.errors import StoreError
from coordinator.stores import checksums


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can grow: what ``write`` says then is as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def refused(*command: str | Path, says: list[str]) -> None:
    done = fedproof(*command)
    check_refusal(done.returncode, done.stderr, says)


def check_refusal(status: int, stderr: str, says: list[str]) -> None:
    (line,) = [line for line in stderr.splitlines() if line.strip()]
    assert line.startswith("fedproof: error: ")
    for words in says:
        assert words in line
    assert status == 6


def test_a_report_where_none_can_be(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    refused("report", run, "--out", tmp_path / "file", says=["cannot write", "file/plots"])
    assert (tmp_path / "file").read_text() == "mine"
    (tmp_path / "out" / ".tmp-report.md").mkdir(parents=True)
    refused("report", run, "--out", tmp_path / "out", says=["cannot write", "out/report.md"])
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").mkdir()
    refused("report", run, says=["cannot read", "metrics.jsonl"])


def test_a_run_that_cannot_draw_its_plots_goes_on_when_it_can(run: Path, tmp_path: Path) -> None:
    (run / "SHA256SUMS").unlink()
    plot = run / "plots" / "stakes_rewards.png"
    plot.unlink()
    plot.mkdir()
    (plot / "mine").write_text("")  # an empty folder would be put away
    command = ("simulate", write_tiny(tmp_path), "--out", run, "--workers", "1", "--json")
    refused(*command, says=[f"cannot write {plot}"])
    assert not (run / "SHA256SUMS").exists()
    shutil.rmtree(plot)
    assert fedproof(*command).returncode == 0
    assert fedproof("verify", run).returncode == 0


def test_a_disk_that_fills_while_plots_are_drawn(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fedproof", "report", str(run)])
    with full_disk(), pytest.raises(SystemExit) as ended:
        cli.run(simulations.cli.app)
    plot = run / "plots" / "accuracy.png"
    check_refusal(int(str(ended.value.code)), capsys.readouterr().err, [f"cannot write {plot}"])


def test_a_disk_that_fills_while_a_round_is_noted(tmp_path: Path) -> None:
    notes = tmp_path / "metrics.jsonl"
    append(notes, b"one\n")
    with full_disk(), pytest.raises(StoreError, match=rf"^cannot write {notes}: File too large$"):
        append(notes, b"two\n")
    append(notes, b"three\n")
    assert notes.read_bytes() == b"one\nthree\n"


def closed_to_us(name: str) -> Callable[..., Any]:
    """``open`` for somebody who may not read one file (tests may run as root, who may)."""

    def opened(path: Path, mode: str) -> Any:
        if path.as_posix().endswith(name):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return open(path, mode)

    return opened


@pytest.mark.parametrize("name", ["config.json", "metrics.csv", "chain/chain.sqlite", ".rule.json"])
@pytest.mark.parametrize("options", [[], ["--partial"]], ids=["whole", "partial"])
def test_what_verify_may_not_read_is_no_tampering(
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    options: list[str],
) -> None:
    monkeypatch.setattr(checksums, "open", closed_to_us(name), raising=False)
    monkeypatch.setattr(sys, "argv", ["fedproof", "verify", str(run), *options])
    with pytest.raises(SystemExit) as ended:
        cli.run(simulations.cli.app)
    says = [f"cannot read {run}/", f"{name}: Permission denied"]
    check_refusal(int(str(ended.value.code)), capsys.readouterr().err, says)
