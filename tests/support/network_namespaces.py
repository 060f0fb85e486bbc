"""A simulated network: a network namespace for each machine, joined by a bridge in another.

Nothing is added to the namespace of the tests; deleting the namespaces deletes everything.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence

SUBNET = "10.77.0"


class Network:
    """The namespaces by machine name, each with an address."""

    def __init__(self, machines: Sequence[str]) -> None:
        self._prefix = f"fp{os.getpid() % 100_000}"
        self._addresses = {name: f"{SUBNET}.{n}" for n, name in enumerate(machines, start=1)}

    def address(self, machine: str) -> str:
        return self._addresses[machine]

    def namespace(self, machine: str) -> str:
        return f"{self._prefix}-{machine}"

    def inside(self, machine: str) -> list[str]:
        """Return the prefix that runs a command on a machine."""
        return ["ip", "netns", "exec", self.namespace(machine)]

    def build(self) -> None:
        hub = self.namespace("hub")
        _ip("netns", "add", hub)
        _ip("-n", hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", hub, "link", "set", "bridge", "up")
        for number, (machine, address) in enumerate(self._addresses.items()):
            here, port = self.namespace(machine), f"port{number}"
            _ip("netns", "add", here)
            peer = ("peer", "name", "eth0", "netns", here)
            _ip("-n", hub, "link", "add", port, "type", "veth", *peer)
            _ip("-n", hub, "link", "set", port, "master", "bridge", "up")
            _ip("-n", here, "address", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", here, "link", "set", device, "up")

    def remove(self) -> None:
        for machine in (*self._addresses, "hub"):
            with contextlib.suppress(NetworkError):
                _ip("netns", "delete", self.namespace(machine))


class NetworkError(Exception):
    """``ip`` failed; the message is its own."""


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NetworkError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


@contextlib.contextmanager
def network(machines: Sequence[str]) -> Iterator[Network]:
    """Build a network; raises ``NetworkError`` with the reason where this machine refuses."""
    if shutil.which("ip") is None:
        raise NetworkError("there is no command 'ip' (iproute2)")
    made = Network(machines)
    try:
        made.build()
        yield made
    finally:
        made.remove()
