"""``fedproof report`` of a coordinator's folder: chain, notes and claims, for people."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fedproof_command import fedproof
from http_bench import CONTRIBUTORS, HttpBench, embedded_bench
from typer.testing import CliRunner

from coordinator.protocol.errors import BlobMissingError, ConfigError
from coordinator.settings.evaluation import Evaluation
from simulations.cli import app

SETTINGS = 'format = "fedproof-coordinator-1"\n[account]\nkey = "key.json"\n'
CHAIN = "state/chain/chain.sqlite"


@contextmanager
def coordinator(home: Path, evaluation: Evaluation | None = None) -> Iterator[HttpBench]:
    """Play in a coordinator's folder, which is at rest afterwards."""
    with embedded_bench(home / "state", chain=home / CHAIN, evaluation=evaluation) as bench:
        (home / "federation.json").write_bytes(bench.agreement.canonical_json())
        (home / "coordinator.toml").write_text(SETTINGS)
        yield bench


def report(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, ["report", *map(str, arguments), "--json"])
    assert done.exit_code == 0, (done.stdout, done.exception)
    said = json.loads(done.stdout)
    text = Path(said["report"]).read_text()
    for name in re.findall(r"\(plots/(.*)\)", text):
        assert Path(said["plots"], name).read_bytes()[:4] == b"\x89PNG"
    return text


def refusal(*arguments: str | Path) -> BaseException:
    done = CliRunner().invoke(app, ["report", *map(str, arguments)])
    assert done.exception is not None
    assert "\n" not in str(done.exception)
    return done.exception


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder after a sealed and evaluated round, a void one, and one that is sealed only."""
    home = tmp_path_factory.mktemp("coordinator")
    with coordinator(home, Evaluation()) as bench:
        bench.play()
        bench.evaluate(1, 0.5, 0.75)
        bench.service.open_round()
        bench.service.refuse("node 7", ValueError("unreadable"))
        bench.service.close_round()
        bench.play()
        registry = [{"name": "zurich", "address": CONTRIBUTORS[0].address.lower()}]
        document = {"format": "fedproof-registry-1", "participants": registry}
        (home / "registry.json").write_text(json.dumps(document))
    return home


def test_rounds_money_and_claims_are_in_it(evaluated: Path, tmp_path: Path) -> None:
    text = report(evaluated, "--out", tmp_path)
    assert text.startswith("# bench\n")
    assert "accuracy after round 1, as claimed: **62.5%**" in text
    assert "Nobody else can verify them" in text
    assert "(plots/accuracy.png)" in text
    assert "(plots/stakes_rewards.png)" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    first, void, last = rows[1:4]
    assert first.startswith("| 1 | final | 3 |  | 62.5% | 1.2500 | 2 of 3 | 75.0% | 3 ETH | `")
    assert void.startswith(
        "| 2 | void: too few updates: 0 of 2 | 0 | unreadable | | | |  | 0 wei |  |"
    )
    assert last.startswith("| 3 | final | 3 |  | | | |  | 3 ETH |")
    assert rows[5].startswith("| zurich | 10 | 2 |  | 2 ETH | 0 wei | 1 ETH |")
    assert rows[6].startswith("| member 2 | 20 | 2 |")
    assert CONTRIBUTORS[1].address in rows[6]


def test_it_lies_in_the_folder_and_verify_does_not_mind(evaluated: Path) -> None:
    text = report(evaluated / "state")
    assert (evaluated / "report.md").read_text() == text
    done = CliRunner().invoke(app, ["verify", str(evaluated), "--json"])
    assert done.exit_code == 0, done.stdout


def test_it_is_written_while_the_coordinator_has_the_chain_open(tmp_path: Path) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    with coordinator(home, Evaluation()) as bench:
        bench.play()
        bench.evaluate(1, 0.5)
        bench.begin()
        done = fedproof("report", home, "--out", out)
        assert done.returncode == 0, done.stderr
        bench.service.close_round()
    text = (out / "report.md").read_text()
    assert "| 1 | final | 3 |  | 50.0% |" in text
    assert "| 2 | open | 0 |" in text


def test_without_evaluation_nothing_is_said_of_it(tmp_path: Path) -> None:
    with coordinator(tmp_path) as bench:
        bench.play()
    text = report(tmp_path)
    assert "claim" not in text
    assert "accuracy" not in text
    assert "| round | status | contributors | refused | paid | model root |" in text


def test_before_the_first_round(tmp_path: Path) -> None:
    with coordinator(tmp_path, Evaluation()):
        pass
    assert "## Contributors" in report(tmp_path)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with coordinator(tmp_path) as bench:
        bench.play()
    for blob in (tmp_path / "state" / "blobs").rglob("*.contributors.json"):
        blob.unlink()
    error = refusal(tmp_path)
    assert isinstance(error, BlobMissingError)
    assert "contributors" in str(error)
    (tmp_path / CHAIN).unlink()
    error = refusal(tmp_path)
    assert isinstance(error, ConfigError)
    assert f"{tmp_path / CHAIN}: no embedded chain there" in str(error)
