"""Machines of a network, on one: a network namespace for each, joined by a bridge in another.

Nothing is added to the namespace the tests run in; deleting the namespaces deletes it all.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence

SUBNET = "10.77.0"


class Network:
    """Namespaces by name; ``address`` is each one's own."""

    def __init__(self, machines: Sequence[str]) -> None:
        self._prefix = f"fp{os.getpid() % 100_000}"
        self._addresses = {name: f"{SUBNET}.{n}" for n, name in enumerate(machines, start=1)}

    def address(self, machine: str) -> str:
        return self._addresses[machine]

    def namespace(self, machine: str) -> str:
        return f"{self._prefix}-{machine}"

    def inside(self, machine: str) -> list[str]:
        """Return what to put before a command that is to run on a machine."""
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
    """What ``ip`` refused, in its words."""


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
