"""A coordinator and two participants that reach each other over a network only, not loopback."""

import contextlib
import os
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
from fedproof_command import COMMAND, environment
from live_federation import FULL, PATIENCE_S, Federation, live
from network_namespaces import Network, NetworkError, network

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]
REQUIRED = "FEDPROOF_REQUIRE_NETNS"
NAMES = ("north", "south")
ROUNDS = 2


def built(stack: ExitStack) -> Network:
    """Build the network, or skip the test where this machine does not allow it."""
    try:
        return stack.enter_context(network(["office", *NAMES]))
    except NetworkError as refused:
        if os.environ.get(REQUIRED):
            raise
        pytest.skip(f"no network namespaces on this machine: {refused}")


def start(federation: Federation, where: Network) -> None:
    """Start everybody on a machine of its own."""
    federation.coordinator.wrapper = where.inside("office")
    federation.coordinator.start()
    for name, daemon in federation.daemons.items():
        daemon.wrapper = where.inside(name)
        daemon.start()


def final_rounds(federation: Federation) -> int:
    log = federation.coordinator.state / "logs" / "coordinator.jsonl"
    return log.read_text().count('"round final"') if log.exists() else 0


def peers(pid: int) -> set[str]:
    """Return the addresses a process has connections to; none of one that has ended."""
    links, table = set(), ""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                links.add(os.readlink(link))
        table = Path(f"/proc/{pid}/net/tcp").read_text()
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    found = set()
    for line in table.splitlines()[1:]:
        fields = line.split()
        if fields[9] in inodes and fields[3] == "01":
            raw = bytes.fromhex(fields[2].split(":")[0])[::-1]
            found.add(".".join(map(str, raw)))
    return found


@pytest.mark.skipif(not FULL, reason="at full length: make faults")
def test_every_machine_has_its_own_address(tmp_path: Path) -> None:
    with ExitStack() as stack:
        where = built(stack)
        office = where.address("office")
        federation = live(
            tmp_path,
            names=NAMES,
            host=office,
            host_names=(office,),
            rounds=ROUNDS,
            sealed=True,
            duration_s=200,
        )
        stack.callback(federation.__exit__)
        start(federation, where)
        seen: set[str] = set()

        def done() -> bool:
            for name in NAMES:
                parts = federation.processes()
                for part in (name, f"supernode of {name}"):
                    if part in parts:
                        seen.update(peers(parts[part]))
            return final_rounds(federation) >= ROUNDS

        federation.wait_until(done, f"{ROUNDS} rounds are final", PATIENCE_S)
        url = f"https://{office}:{federation.coordinator.url.rsplit(':', 1)[1]}"
        command = [*where.inside("south"), *COMMAND, "verify"]
        command += ["--rpc", f"{url}/rpc", "--store", url, "--ca", "ca.crt"]
        folder = federation.root / "participants" / "south"
        verified = subprocess.run(
            command, cwd=folder, env=environment(), capture_output=True, text=True, check=False
        )
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert f"{ROUNDS} rounds hold" in verified.stdout
        assert office in seen, seen
        assert seen <= {office, "127.0.0.1"}  # loopback: Flower's own processes to their SuperNode
        # from here, nobody is there: the address exists in those namespaces only
        assert federation.coordinator.status() == {}
        assert set(federation.stop().values()) == {0}
