"""No process of a federation connects anywhere but to loopback, and none is told a secret.

Every system call that connects, sends or starts a program is traced, of every process, through
three rounds.
"""

import os
import shutil
from pathlib import Path

import pytest
from eth_account import Account
from live_federation import PATIENCE_S, Federation, live
from network_trace import TRACED, executions, outside, read_traces
from participant_bench import Daemon

from coordinator.local.keyfile import PASSWORD_VARIABLE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]
NEEDS_STRACE = "FEDPROOF_REQUIRE_STRACE"
ROUNDS = 3


def secrets_of(federation: Federation) -> dict[str, str]:
    """Return every account's password and private key, by what it is."""
    found = {}
    places = [federation.root / "keys" / "coordinator.json"]
    places += [federation.root / "participants" / n / "account.json" for n in federation.daemons]
    for key in places:
        own = key.with_name("password.txt")
        password = (own if own.exists() else key.with_suffix(".password")).read_text().strip()
        whose = key.parent.name
        found[f"password of {whose}"] = password
        found[f"key of {whose}"] = bytes(Account.decrypt(key.read_text(), password)).hex()
    return found


def set_by_variable(federation: Federation, name: str) -> None:
    """Have a participant take its password from the environment instead of a file."""
    folder = federation.root / "participants" / name
    words = (folder / "password.txt").read_text().strip()
    toml = folder / "participant.toml"
    lines = [line for line in toml.read_text().splitlines() if "password_file" not in line]
    toml.write_text("\n".join(lines) + "\n")
    environment = {PASSWORD_VARIABLE: words}
    federation.daemons[name] = Daemon(federation.root, name, env=environment)


def test_three_rounds_stay_on_loopback_and_keep_their_secrets(tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None:
        if os.environ.get(NEEDS_STRACE):
            pytest.fail(f"{NEEDS_STRACE} is set, but strace is not installed")
        pytest.skip("strace is not installed: connections cannot be traced")
    federation = live(tmp_path, names=("berlin", "rome"), rounds=ROUNDS, duration_s=240)
    set_by_variable(federation, "rome")
    traces = tmp_path / "traces"
    traces.mkdir()
    prefix = [strace, "-D", "-f", "-ff", "--seccomp-bpf", "-qq", "-v", "-s", "4096", "-e", TRACED]
    for one in (federation.coordinator, *federation.daemons.values()):
        one.wrapper = [*prefix, "-o", str(traces / "trace")]
    with federation:
        federation.wait_for_rounds(ROUNDS, PATIENCE_S)
        running = {p: Path(f"/proc/{pid}") for p, pid in federation.processes().items()}
        told = {
            part: (place / "environ").read_bytes() + (place / "cmdline").read_bytes()
            for part, place in running.items()
        }
        assert set(federation.stop().values()) == {0}
    found = read_traces(traces, "trace")
    programs = [line for trace in found.values() for line in executions(trace)]
    check_connections(found, programs)
    check_secrets(federation, programs, told)


def check_connections(found: dict[int, str], programs: list[str]) -> None:
    text = "\n".join(found.values())
    assert "127.0.0.1" in text
    assert outside(text) == set()
    names = {Path(line.split('"')[1]).name for line in programs}
    print(f"{len(found)} processes and threads traced; programs: {sorted(names)}")
    # one ClientApp a message at least: hello and training, of three participants
    assert len([p for p in programs if "flwr-clientapp" in p]) >= 2 * ROUNDS
    assert not names & {"uv", "pip", "pip3", "curl", "wget"}


def check_secrets(federation: Federation, programs: list[str], told: dict[str, bytes]) -> None:
    daemon = '"simulations", "client"'  # its own environment is where rome's password comes from
    started = "\n".join(line for line in programs if daemon not in line)
    written = {str(path): path.read_bytes() for path in logs(federation)}
    assert len(written) >= 6, sorted(written)
    for what, secret in secrets_of(federation).items():
        assert secret not in started, f"{what} was given to a program"
        for place, data in written.items():
            assert secret.encode() not in data, f"{what} is in {place}"
        for part, data in told.items():
            if part == "rome" and what == "password of rome":
                continue
            assert secret.encode() not in data, f"{what} is known to {part}"


def logs(federation: Federation) -> list[Path]:
    folders = [federation.coordinator.state, *(d.state for d in federation.daemons.values())]
    found = [path for folder in folders for path in folder.rglob("*.log*")]
    found += [path for folder in folders for path in folder.rglob("*.jsonl")]
    outputs = [federation.coordinator.output, *(d.output for d in federation.daemons.values())]
    return [*found, *outputs]
