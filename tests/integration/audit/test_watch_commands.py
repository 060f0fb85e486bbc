"""``fedproof watch`` and ``fedproof challenge`` against a served chain, with key files."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fraud_bench import ETHER, FraudBench
from typer.testing import CliRunner

from contracts.node.rpc import Dispatcher
from contracts.node.server import serve_in_thread
from coordinator.local import keyfile as account
from coordinator.protocol.errors import ChainUnavailableError, ConfigError, KeyFileError
from simulations.cli import app

SHIFT = {"kind": "shift_parameter", "parameter": 11}


@dataclass
class Shell:
    """A bench whose chain is served, and a command line beside it."""

    bench: FraudBench
    url: str
    key: Path
    password: Path

    def run(self, *arguments: str, status: int = 0) -> list[dict]:
        places = ["--rpc", self.url, "--store", str(self.bench.folder), "--json"]
        places += ["--contract", self.bench.chain.federation.address]
        done = CliRunner().invoke(app, [*arguments, *places])
        assert done.exit_code == status, (done.stdout, done.exception)
        return [json.loads(line) for line in done.stdout.splitlines()]

    @property
    def signed(self) -> list[str]:
        return ["--key", str(self.key), "--password-file", str(self.password)]


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    folder = tmp_path_factory.mktemp("keys")
    password = folder / "password"
    password.write_text("correct horse\n")
    password.chmod(0o600)
    made = account.create(folder / "watcher.json", "correct horse")
    return folder / "watcher.json", password, made.address


@pytest.fixture
def make_shell(
    make_bench: Callable[..., FraudBench], key_file: tuple[Path, Path, str]
) -> Iterator[Callable[..., Shell]]:
    key, password, address = key_file
    handles = []

    def make(*attacks: dict) -> Shell:
        bench = make_bench(*attacks, watcher={"address": address})
        for _ in range(2):
            bench.play(watched=False)
        served = Dispatcher(bench.chain.node, dev=False)
        handles.append((serve_in_thread(served), served))
        return Shell(bench, handles[-1][0].url, key, password)

    yield make
    for handle, served in handles:
        handle.stop()
        served.close()


def verbs(notices: list[dict]) -> list[str]:
    return [notice["what"] for notice in notices]


def test_watch_once_convicts_with_an_account_of_its_own(make_shell: Callable[..., Shell]) -> None:
    shell = make_shell(SHIFT)
    told = shell.run("watch", "--once", *shell.signed)
    assert verbs(told) == ["examined", "found", "planned", "convicted", "collected"]
    assert told[2]["price"]["bounty_wei"] == str(ETHER)
    assert told[3]["gas_used"] <= told[2]["price"]["gas"] * 1.1
    assert shell.bench.statuses() == ["settled", "void"]
    assert verbs(shell.run("watch", "--once", *shell.signed)) == ["examined"]


def test_a_dry_run_needs_no_key_sends_nothing_and_says_so_to_scripts(
    make_shell: Callable[..., Shell],
) -> None:
    shell = make_shell(SHIFT)
    height = shell.bench.chain.node.head_number
    told = shell.run("watch", "--once", "--dry-run", status=1)
    assert verbs(told) == ["examined", "found", "planned"]
    assert shell.bench.chain.node.head_number == height
    assert shell.bench.statuses() == ["settled", "settled"]


def test_challenge_proves_the_chunk_it_is_told_to(make_shell: Callable[..., Shell]) -> None:
    shell = make_shell(SHIFT)
    told = shell.run("challenge", "2", "--chunk", "0", *shell.signed)
    assert verbs(told) == ["examined"]  # parameter 11 is in chunk 1, of eight values
    assert shell.bench.statuses() == ["settled", "settled"]
    told = shell.run("challenge", "2", "--chunk", "1", "--dry-run", status=1)
    assert verbs(told) == ["found", "planned"]
    told = shell.run("challenge", "2", "--chunk", "1", *shell.signed)
    assert verbs(told) == ["found", "planned", "convicted"]
    assert shell.bench.statuses() == ["settled", "void"]


def test_challenge_without_a_chunk_takes_whatever_is_wrong(
    make_shell: Callable[..., Shell],
) -> None:
    shell = make_shell({"kind": "drop_weight", "victim": 1})
    told = shell.run("challenge", "2", *shell.signed)
    assert verbs(told) == ["found", "found", "planned", "convicted"]
    assert shell.bench.reason(2) == "leaf: wrong weight"


def test_an_honest_round_is_not_challenged(make_shell: Callable[..., Shell]) -> None:
    shell = make_shell()
    assert verbs(shell.run("challenge", "2", *shell.signed)) == ["examined"]
    assert shell.bench.bond_wei == 10 * ETHER


def refusal(shell: Shell, *arguments: str) -> BaseException:
    done = CliRunner().invoke(app, list(arguments))
    assert isinstance(done.exception, BaseException)
    return done.exception


def test_mistakes_are_named(make_shell: Callable[..., Shell], tmp_path: Path) -> None:
    shell = make_shell()
    at = ["--rpc", shell.url, "--store", str(shell.bench.folder)]
    found = refusal(shell, "watch", *at, "--dry-run", "--once")
    assert isinstance(found, ConfigError)
    assert "give --contract ADDRESS" in str(found)
    at += ["--contract", shell.bench.chain.federation.address]
    found = refusal(shell, "watch", *at, "--once")
    assert "--key FILE is needed" in str(found)
    found = refusal(shell, "watch", *at[:2], "--store", str(tmp_path / "none"), "--dry-run")
    assert "no such folder" in str(found)
    found = refusal(shell, "watch", *at[:4], "--contract", "0x12", "--dry-run")
    assert "expected 0x and 40" in str(found)
    found = refusal(shell, "challenge", "7", *at, "--dry-run")
    assert "round 7 is none: only a sealed round" in str(found)
    found = refusal(shell, "challenge", "2", "--chunk", "5", *at, "--dry-run")
    assert "--chunk 5: the model has 5 chunks, 0 to 4" in str(found)
    wrong = tmp_path / "wrong"
    wrong.write_text("battery staple\n")
    key = ["--key", str(shell.key), "--password-file", str(wrong)]
    assert isinstance(refusal(shell, "watch", *at, *key), KeyFileError)
    dead = ["--rpc", "http://127.0.0.1:9", *at[2:]]
    assert isinstance(refusal(shell, "watch", *dead, "--dry-run"), ChainUnavailableError)
