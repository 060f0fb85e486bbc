"""Every command as a user types it: help, answers for scripts, and errors in one line."""

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from fedproof_command import (
    COMMAND,
    ROOT,
    environment,
    fedproof,
    kill_group,
    start,
    write_tiny,
)
from web3 import Web3

from contracts.binding.rpc import rpc_of
from contracts.node.kv import SqliteDB
from coordinator.stores.run_folder import RunFolder
from simulations.experiment.load import shipped_experiments

COMMANDS = [
    ["simulate"],
    ["verify"],
    ["watch"],
    ["challenge"],
    ["report"],
    ["chain", "serve"],
    ["chain", "show"],
    ["account", "new"],
    ["account", "show"],
    ["hospitals"],
    ["federation", "init"],
    ["federation", "add"],
    ["federation", "remove"],
    ["federation", "list"],
    ["federation", "renew"],
    ["federation", "node-key"],
    ["join"],
    ["leave"],
    ["withdraw"],
    ["claim"],
    ["fund"],
    ["balance"],
    ["status"],
    ["rounds"],
    ["contributors"],
    ["evidence", "export"],
    ["evidence", "check"],
    ["version"],
]


def refused(*arguments: str | Path, status: int, says: list[str], stdin: str = "") -> None:
    """Expect one line of complaint, the documented status, and no traceback."""
    done = fedproof(*arguments, stdin=stdin)
    assert done.returncode == status, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert line.startswith("fedproof: error: ")
    for words in says:
        assert words in line


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example_and_the_reference_names_the_command(command: list[str]) -> None:
    done = fedproof(*command, "--help")
    assert done.returncode == 0
    assert "Example" in done.stdout
    assert "Exit status" in done.stdout
    assert f"fedproof {' '.join(command)}" in (ROOT / "docs" / "commands.md").read_text()


def test_the_commands_are_the_documented_ones() -> None:
    listed = fedproof("--help").stdout
    for command in COMMANDS:
        assert f" {command[0]} " in listed, command
    assert fedproof("nonsense").returncode == 2
    assert fedproof("simulate", "--nonsense").returncode == 2


def test_the_reference_names_every_shipped_experiment() -> None:
    text = (ROOT / "docs" / "commands.md").read_text()
    assert [name for name in shipped_experiments() if f"`{name}`" not in text] == []


def test_the_operators_commands_name_what_is_wrong(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    contract = ["--contract", "0x" + "11" * 20]
    refused("status", "--rpc", url, *contract, status=5, says=[url, "nothing listens there"])
    refused("balance", "--config", tmp_path / "none.toml", status=2, says=["none.toml"])
    refused("join", "--stake", "lots", "--rpc", url, *contract, status=5, says=[url])


def test_version_answers_scripts() -> None:
    answer = json.loads(fedproof("version", "--json").stdout)
    assert {"fedproof", "python", "flwr", "torch", "web3", "py-evm", "numpy"} <= set(answer)


# --- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rounds = [\n", ["tiny.toml", "line"]),
        ("roundz = 3\n", ['"roundz"', '"rounds"']),
        ("rounds = 0\n", ["rounds = 0", "at least 1"]),
        ('[aggregator]\nkind = "mean"\n', ["aggregator", "mean", "fedavg"]),
        ("[cohort]\nsize = 99\n", ["cohort.size = 99", "partition.clients"]),
    ],
)
def test_a_bad_config_is_named(tmp_path: Path, text: str, says: list[str]) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(text)
    refused("simulate", path, "--out", tmp_path / "out", status=2, says=says)
    assert not (tmp_path / "out").exists()


def test_bad_options_are_named(tmp_path: Path) -> None:
    config = write_tiny(tmp_path)
    refused("simulate", config, "--set", "rounds", status=2, says=["--set"])
    refused("simulate", config, "--set", "rounds=many", status=2, says=["rounds"])
    refused("simulate", config, "--resume", "--fresh", status=2, says=["--resume", "--fresh"])
    refused("simulate", "no-such-config", status=2, says=["no-such-config", "quickstart"])
    refused("verify", tmp_path / "none", status=2, says=["none"])
    refused("report", tmp_path, status=2, says=["config.json"])


def test_missing_and_corrupt_data_are_named(tmp_path: Path) -> None:
    out = tmp_path / "out"
    refused(
        "simulate", "fashion_mnist", "--data", tmp_path / "none", "--out", out,
        status=2, says=["no such folder", "--data"],
    )  # fmt: skip
    folder = tmp_path / "data" / "fashion-mnist"
    folder.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (folder / f"{name}-ubyte.gz").write_bytes(b"not gzip")
    refused(
        "simulate", "fashion_mnist", "--data", tmp_path / "data", "--out", tmp_path / "out2",
        status=2, says=["-ubyte.gz"],
    )  # fmt: skip


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    config, out = write_tiny(tmp_path), tmp_path / "precious"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    refused("simulate", config, "--out", out, status=2, says=["not empty"])
    refused("simulate", config, "--out", out, "--fresh", status=2, says=["not deleted"])
    assert (out / "thesis.tex").read_text() == "years of work"


def test_another_configuration_does_not_mix_into_a_run(finished_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished_run, tmp_path / "run"))
    config = write_tiny(tmp_path)
    refused(
        "simulate",
        config,
        "--seed",
        "9",
        "--out",
        copy,
        status=2,
        says=["another configuration", "9 here"],
    )
    (copy / "thesis.tex").write_text("years of work")
    refused("simulate", config, "--out", copy, "--fresh", status=2, says=["thesis.tex"])
    assert (copy / "SHA256SUMS").exists()
    (copy / "thesis.tex").unlink()
    assert RunFolder(copy).foreign() == []
    again = fedproof("simulate", config, "--out", copy, "--json")
    assert again.returncode == 0, again.stderr  # the same one is finished: nothing to do
    assert json.loads(again.stdout)["resumed_from"] == 4
    told = fedproof("simulate", config, "--out", copy).stdout
    assert told.startswith("already complete: 4 rounds, nothing was run; --rounds N makes ")


def test_an_occupied_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused("chain", "serve", "--port", port, status=2, says=[f"127.0.0.1:{port}"])


@pytest.mark.parametrize("kept", [True, False], ids=["file", "memory"])
def test_a_chain_says_in_json_where_it_is(tmp_path: Path, kept: bool) -> None:
    path = tmp_path / "chain.sqlite"
    command = [*COMMAND, "chain", "serve", *([str(path)] if kept else []), "--port", "0", "--json"]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        url = said.pop("url")
        assert said == {"chain_id": 1337, "block": 0, "file": str(path) if kept else None}
        assert rpc_of(Web3(Web3.HTTPProvider(url))).quantity("eth_blockNumber") == 0
        process.terminate()
        assert process.wait(timeout=30) == 0
        assert process.stdout.read() == ""
    finally:
        process.kill()
        process.communicate()


def test_a_wrong_password_and_an_open_key_are_refused(tmp_path: Path) -> None:
    password, wrong = tmp_path / "pw", tmp_path / "wrong"
    password.write_text("correct\n")
    wrong.write_text("battery\n")
    for file in (password, wrong):
        file.chmod(0o600)
    key = tmp_path / "key.json"
    made = fedproof("account", "new", key, "--password-file", password, "--json")
    assert made.returncode == 0, made.stderr
    address = json.loads(made.stdout)["address"]
    shown = fedproof("account", "show", key, "--password-file", password, "--json")
    assert json.loads(shown.stdout)["address"] == address
    refused("account", "show", key, "--password-file", wrong, status=7, says=["wrong password"])
    refused("account", "new", key, "--password-file", password, status=7, says=["never"])
    key.chmod(0o640)
    refused("account", "show", key, "--password-file", password, status=7, says=["0640"])


def test_something_else_than_a_chain_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "chain.sqlite"
    path.write_bytes(b"x" * 8192)
    refused("chain", "show", path, status=6, says=["not a chain file"])
    refused("chain", "show", tmp_path / "none", status=6, says=["none"])


def test_a_run_that_goes_on_is_verified_from_a_copy(tmp_path: Path) -> None:
    config, out = write_tiny(tmp_path), tmp_path / "run"
    process = start("simulate", config, "--out", out, "--workers", "1", "--set", "rounds=5000")
    try:
        while process.poll() is None and not (out / "rounds" / "000002.json").exists():
            time.sleep(0.05)
        refused("verify", out, status=6, says=["a process is at work in it", "--partial"])
        done = fedproof("verify", out, "--partial")
        assert done.returncode == 0, done.stdout
        assert "rounds hold so far" in done.stdout
        rounds = len(list((out / "rounds").iterdir()))
        while process.poll() is None and len(list((out / "rounds").iterdir())) < rounds + 2:
            time.sleep(0.05)
        assert process.poll() is None, "verify has ended the run"
    finally:
        kill_group(process)
    refused("verify", out, status=2, says=["the run is not complete", "--partial"])
    assert fedproof("verify", out, "--partial").returncode == 0


def test_a_run_that_has_only_begun(finished_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished_run, tmp_path / "run"))
    (copy / "federation.json").unlink()
    (copy / "SHA256SUMS").unlink()
    refused("verify", copy, "--partial", status=2, says=["has only begun"])


def test_a_chain_that_somebody_serves_is_no_fraud(finished_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished_run, tmp_path / "run"))
    db = SqliteDB(copy / "chain" / "chain.sqlite")
    try:
        refused("verify", copy, status=5, says=["chain.sqlite: open in another process"])
    finally:
        db.checkpoint_and_close()


def test_a_run_is_found_by_its_name(finished_run: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_run, tmp_path / "runs" / "tiny")
    done = fedproof("verify", "tiny", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "runs/tiny: 4 rounds hold" in done.stdout
    done = fedproof("report", "tiny", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = fedproof("verify", "tiniest", cwd=tmp_path)
    assert (done.returncode, "tiniest: no such folder, nor runs/tiniest" in done.stderr) == (
        2,
        True,
    )
    done = fedproof("verify", "runs", cwd=tmp_path)
    assert (done.returncode, "it holds some: runs/tiny" in done.stderr) == (2, True)


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    config, out = write_tiny(tmp_path), tmp_path / "run"
    endless = ["--set", "rounds=5000"]
    first = start("simulate", config, "--out", out, "--workers", "1", *endless)
    try:
        while first.poll() is None and not (out / "config.json").exists():
            pass
        assert first.poll() is None
        refused(
            "simulate", config, "--out", out, *endless,
            status=6, says=["in use by another process"],
        )  # fmt: skip
    finally:
        os.killpg(first.pid, 9)
        first.wait(timeout=30)


def test_a_full_disk_is_a_clear_error_and_the_run_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(small)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"cannot mount a small tmpfs here: {mounted.stderr.strip()}")
    try:
        config, out = write_tiny(tmp_path), small / "run"
        done = fedproof("simulate", config, "--out", out, "--workers", "1")
        assert done.returncode == 6, (done.returncode, done.stderr)
        assert "No space left on device" in done.stderr or "no room left" in done.stderr
        assert "Traceback" not in done.stderr
        grown = ["mount", "-o", "remount,size=64m", str(small)]
        subprocess.run(grown, check=True, capture_output=True)
        done = fedproof("simulate", config, "--out", out, "--workers", "1", "--resume")
        assert done.returncode == 0, done.stderr
        assert fedproof("verify", out).returncode == 0
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


# --- results -----------------------------------------------------------------------------------


def test_chain_show_lists_what_happened(finished_run: Path) -> None:
    text = fedproof("chain", "show", finished_run).stdout
    for method in ("deploy", "join", "open_round", "seal_round", "settle_round", "claim"):
        assert method in text
    answer = json.loads(fedproof("chain", "show", finished_run, "--last", "2", "--json").stdout)
    assert len(answer["blocks"]) == 2


def test_a_report_is_drawn_again_elsewhere(finished_run: Path, tmp_path: Path) -> None:
    answer = json.loads(fedproof("report", finished_run, "--out", tmp_path, "--json").stdout)
    assert "# tiny" in Path(answer["report"]).read_text()
    for name in ("accuracy.png", "stakes_rewards.png"):
        assert (tmp_path / "plots" / name).read_bytes().startswith(b"\x89PNG")


def test_output_into_a_closed_pipe_is_no_error(finished_run: Path) -> None:
    command = subprocess.list2cmdline([*COMMAND, "chain", "show", str(finished_run)])
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command} | head -1"],
        env=environment(), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
