"""As a new user would: a run in one process, a watcher with a key of its own in another."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fedproof_command import COMMAND, environment, fedproof, kill_group, write_tiny

MONEY = """
[stake]
coordinator_minimum_wei = "8 ether"
coordinator_slash_bps = 2_000
"""
GUILTY = 2
ROUNDS = 4
SHORT = ["--set", f"rounds={ROUNDS}"]


def attack(kind: str, more: str = "", round_id: int = GUILTY) -> str:
    return f'[[coordinator_attacks]]\nround = {round_id}\nkind = "{kind}"\n{more}\n'


@contextmanager
def running(output: Path, *arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a process group of its own, its output in a file."""
    with open(output, "wb") as file:
        process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            env={**environment(), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        kill_group(process)


def await_text(output: Path, text: str, process: subprocess.Popen[bytes]) -> str:
    """Return the first line with a text in it."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        content = output.read_text()
        for line in content.splitlines(keepends=True):
            if text in line and line.endswith("\n"):
                return line
        assert process.poll() is None or text in output.read_text(), content
        time.sleep(0.05)
    raise AssertionError(f"{output}: no {text!r} within two minutes: {output.read_text()}")


class Stage:
    """A folder with a key, and the commands of both sides."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run = folder, folder / "run"
        self.password, self.key = folder / "password", folder / "watcher.json"
        self.password.write_text("correct horse\n")
        self.password.chmod(0o600)
        secret = ["--password-file", self.password]
        made = fedproof("account", "new", self.key, *secret, "--json")
        self.address = str(json.loads(made.stdout)["address"])

    def simulate(self, extra: str) -> Any:
        config = write_tiny(self.folder, MONEY + extra)
        served = [
            *SHORT,
            "--serve-rpc",
            "0",
            "--pace",
            "4",
            "--set",
            f"watcher.address={self.address}",
        ]
        output = self.folder / "simulate.log"
        return running(output, "simulate", config, "--out", self.run, "--workers", "1", *served)

    def url(self, process: subprocess.Popen[bytes]) -> str:
        line = await_text(self.folder / "simulate.log", "chain     http", process)
        return line.split()[1].rstrip(",")

    def watch(self, url: str, name: str) -> Any:
        where = ["--rpc", url, "--store", self.run, "--poll", "0.2", "--patience", "3", "--json"]
        secret = ["--key", self.key, "--password-file", self.password]
        return running(self.folder / name, "watch", *where, *secret)

    def told(self, name: str) -> list[dict[str, Any]]:
        lines = (self.folder / name).read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def verdict(self) -> dict[str, Any]:
        (row,) = json.loads((self.run / "coordinator.json").read_text())["convictions"]
        assert row["prover"] == self.address
        verified = fedproof("verify", self.run)
        assert verified.returncode == 0, verified.stdout
        return row


@pytest.mark.slow
def test_a_watcher_in_another_process_ends_the_attack_with_the_roots_of_an_honest_run(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path)
    with (
        stage.simulate(attack("shift_parameter", "parameter = 7")) as simulation,
        stage.watch(stage.url(simulation), "watch.log") as watcher,
    ):
        assert simulation.wait(timeout=240) == 0
        assert watcher.wait(timeout=60) == 5  # the chain is gone, and that is said
    verbs = [notice["what"] for notice in stage.told("watch.log")]
    start = verbs.index("found")
    assert verbs[start : start + 4] == ["found", "planned", "convicted", "collected"]
    row = stage.verdict()
    assert (row["round"], row["offence"]) == (GUILTY, "wrong aggregate")
    assert (row["slashed_wei"], row["bond_after_wei"]) == (str(2 * 10**18), str(8 * 10**18))

    attacked = roots_of(stage.run)
    void = [number for number, root in attacked.items() if not root]
    # A round that was open on top of the guilty one falls with it: on a slow machine there is one.
    assert void == list(range(GUILTY, GUILTY + len(void)))
    assert attacked[ROUNDS]
    config = write_tiny(tmp_path, MONEY + "".join(attack("abandon", "", one) for one in void))
    honest = tmp_path / "honest"
    assert fedproof("simulate", config, "--out", honest, "--workers", "1", *SHORT).returncode == 0
    assert attacked == roots_of(honest)


def roots_of(run: Path) -> dict[int, str]:
    """Roots of each round's new model and contributors; nothing for a void round."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {row["round"]: row["model_root"] + row["contributors_root"] for row in rows}


@pytest.mark.slow
def test_a_watcher_killed_while_it_waits_for_an_answer_is_started_again_and_convicts(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path)
    with stage.simulate(attack("withhold", "victim = 1")) as simulation:
        url = stage.url(simulation)
        with stage.watch(url, "killed.log") as watcher:
            await_text(tmp_path / "killed.log", '"what": "asked"', watcher)
        # the context has ended it with SIGKILL
        assert watcher.returncode == -9
        with stage.watch(url, "again.log"):
            assert simulation.wait(timeout=240) == 0
    verbs = [notice["what"] for notice in stage.told("again.log")]
    assert "asked" not in verbs  # the question of before is still its own
    assert "convicted" in verbs
    row = stage.verdict()
    assert (row["round"], row["offence"]) == (GUILTY, "withheld data")
