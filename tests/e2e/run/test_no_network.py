"""No process of a simulation or an audit connects anywhere but to loopback, or tries to."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from fedproof_command import COMMAND, environment, write_tiny
from network_trace import addresses, outside

NEEDS_STRACE = "FEDPROOF_REQUIRE_STRACE"


def test_the_reader_of_traces_finds_addresses() -> None:
    line = (
        '7 connect(3, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("1.2.3.4")}, 16)'
    )
    six = (
        "7 connect(3, {sa_family=AF_INET6, sin6_port=htons(443), "
        'inet_pton(AF_INET6, "2001:db8::1", &sin6_addr)}, 28)'
    )
    assert addresses(f"{line}\n{six}\n7 connect(3, {{sa_family=AF_UNIX}}, 9)") == {
        "1.2.3.4",
        "2001:db8::1",
    }


@pytest.mark.slow
def test_a_run_and_its_audit_stay_on_loopback(tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None:
        if os.environ.get(NEEDS_STRACE):
            pytest.fail(f"{NEEDS_STRACE} is set, but strace is not installed")
        pytest.skip("strace is not installed: connections cannot be traced")
    config, out = write_tiny(tmp_path), tmp_path / "run"
    arguments = [
        ["simulate", str(config), "--out", str(out), "--workers", "2", "--set", "rounds=2"],
        ["verify", str(out)],
    ]
    for number, command in enumerate(arguments):
        trace = tmp_path / f"trace-{number}"
        traced = [strace, "-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o", str(trace)]
        done = subprocess.run(
            [*traced, *COMMAND, *command],
            env=environment(), capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert outside(trace.read_text()) == set()
