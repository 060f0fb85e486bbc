"""``fedproof verify`` of a coordinator's own folder: its blocks executed again."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_bench import HttpBench, embedded_bench
from typer.testing import CliRunner

from coordinator.protocol.errors import ChainUnavailableError, ConfigError
from simulations.cli import app

SETTINGS = 'format = "fedproof-coordinator-1"\n[account]\nkey = "key.json"\n'


def verify(*arguments: str | Path, status: int = 0) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["verify", *map(str, arguments), "--json"])
    assert done.exit_code == status, (done.stdout, done.exception)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A coordinator's folder after two rounds, at rest."""
    home = tmp_path_factory.mktemp("coordinator")
    with embedded_bench(home / "state", chain=home / "state" / "chain" / "chain.sqlite") as bench:
        bench.play()
        bench.play()
        (home / "federation.json").write_bytes(bench.agreement.canonical_json())
    (home / "coordinator.toml").write_text(SETTINGS)
    return home


@pytest.fixture
def home(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "home"))


def test_a_folder_at_rest_holds(finished: Path) -> None:
    for folder in (finished, finished / "state"):
        found = verify(folder)
        assert found["ok"]
        assert [line["status"] for line in found["rounds"]] == ["final", "final"]
        assert found["transactions"] > 10
        assert found["agreement"]
    assert verify(finished, "--block", found["head_hash"])["ok"]
    done = CliRunner().invoke(app, ["verify", str(finished)])
    assert "transactions executed again" in done.stdout


def test_what_was_changed_is_named(home: Path) -> None:
    blob = next((home / "state" / "blobs").rglob("*.safetensors"))
    blob.write_bytes(blob.read_bytes()[:-1] + b"\x7f")
    found = verify(home, status=1)
    assert blob.stem in found["faults"][0]["artifact"]
    found = verify(home, "--block", "0x" + "12" * 32, status=1)
    assert found["faults"][0]["rule"] == "a block that was seen must still be in the chain"


def test_a_chain_with_a_changed_row(home: Path) -> None:
    file = home / "state" / "chain" / "chain.sqlite"
    connection = sqlite3.connect(file)
    table = connection.execute("select name from sqlite_master where type = 'table'").fetchone()[0]
    columns = [row[1] for row in connection.execute(f"pragma table_info({table})")]
    key, value = columns[:2]
    row = connection.execute(
        f"select {key}, {value} from {table} order by length({value}) desc"
    ).fetchone()
    changed = bytes(row[1][:-1]) + bytes([row[1][-1] ^ 1])
    connection.execute(f"update {table} set {value} = ? where {key} = ?", (changed, row[0]))
    connection.commit()
    connection.close()
    found = verify(home, status=1)
    assert found["faults"][0]["rule"] == "every block must re-execute to its own hash"


def test_another_agreement(home: Path) -> None:
    fields = json.loads((home / "federation.json").read_bytes())
    (home / "federation.json").write_text(json.dumps(fields | {"round_duration_s": 60}))
    found = verify(home, status=1)
    assert found["faults"][0]["rule"] == "its digest must be the config digest on chain"
    (home / "federation.json").write_text(json.dumps(fields | {"contract": "0x" + "22" * 20}))
    found = verify(home, status=1)
    assert found["faults"][0]["rule"] == "it must name the contract"


def refusal(*arguments: str | Path) -> BaseException:
    done = CliRunner().invoke(app, ["verify", *map(str, arguments)])
    assert isinstance(done.exception, BaseException)
    return done.exception


def test_without_an_embedded_chain_it_says_where_to_look(home: Path) -> None:
    (home / "state" / "chain" / "chain.sqlite").unlink()
    error = refusal(home)
    assert isinstance(error, ConfigError)
    assert "give --rpc URL and --store URL" in str(error)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[HttpBench]:
    file = tmp_path / "state" / "chain" / "chain.sqlite"
    with embedded_bench(tmp_path / "state", chain=file) as bench:
        (tmp_path / "federation.json").write_bytes(bench.agreement.canonical_json())
        (tmp_path / "coordinator.toml").write_text(SETTINGS)
        yield bench


def test_a_running_service_is_left_alone(running: HttpBench, tmp_path: Path) -> None:
    running.play()
    assert isinstance(refusal(tmp_path), ChainUnavailableError)


def test_what_holds_a_coordinators_folder_names_it(home: Path) -> None:
    error = refusal(home.parent)
    assert isinstance(error, ConfigError)
    assert f"it holds some: {home}" in str(error)


def test_a_state_folder_alone_is_no_run(home: Path, tmp_path: Path) -> None:
    alone = Path(shutil.move(home / "state", tmp_path / "elsewhere"))
    assert isinstance(refusal(alone), ConfigError)


def test_a_participants_folder(tmp_path: Path) -> None:
    (tmp_path / "participant.toml").touch()
    assert "a participant's folder" in str(refusal(tmp_path))


def test_a_folder_that_is_neither(tmp_path: Path) -> None:
    assert "neither a run's folder" in str(refusal(tmp_path))
    assert isinstance(refusal(tmp_path), ConfigError)
    (tmp_path / "coordinator.toml").write_text("nonsense = 1\n")
    assert isinstance(refusal(tmp_path), ConfigError)
