"""Anvil for tests: finds it, runs a process of it, and skips a test where it is not installed."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from web3 import Web3

from contracts.binding.rpc import Rpc
from coordinator.protocol.errors import ChainUnavailableError

NAMED = "FEDPROOF_ANVIL"
REQUIRED = "FEDPROOF_REQUIRE_ANVIL"
INSTALLED = Path(__file__).parents[2] / "node_modules" / ".bin" / "anvil"
_START_S = 60.0


def anvil_binary() -> str:
    """Return the path in ``FEDPROOF_ANVIL``, else that of the program installed by npm.

    Where there is neither, the test is skipped with the reason; it fails if
    ``FEDPROOF_REQUIRE_ANVIL`` is set, or if ``FEDPROOF_ANVIL`` is no executable file.
    """
    named = os.environ.get(NAMED)
    binary = shutil.which(named or str(INSTALLED))
    if binary is not None:
        return binary
    if named:
        pytest.fail(f"{NAMED}={named}: not an executable file")
    if os.environ.get(REQUIRED):
        pytest.fail(f"{REQUIRED} is set, but there is no anvil; run npm ci")
    pytest.skip(f"no anvil: run npm ci, or set {NAMED}")


@contextmanager
def running_anvil() -> Iterator[str]:
    """Run an anvil for this test alone, chain id 1337; yields its URL."""
    binary = anvil_binary()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [binary, "--host", "127.0.0.1", "--port", str(port), "--chain-id", "1337"]
    command += ["--hardfork", "prague", "--enable-tx-gas-limit", "--accounts", "1", "--silent"]
    process = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # npm's launcher is another process than anvil
        process.wait(timeout=20)


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    rpc, end = Rpc(Web3.HTTPProvider(url)), time.monotonic() + _START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            rpc.request("eth_chainId")
        except ChainUnavailableError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"anvil did not answer at {url}; exit status {process.poll()}")
