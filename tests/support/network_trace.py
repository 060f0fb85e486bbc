"""Reads traces of ``strace``: addresses that were connected to, and programs that were started."""

import re
from pathlib import Path

TRACED = "trace=connect,sendto,sendmsg,sendmmsg,execve"
LOOPBACK = frozenset({"::1", "::ffff:127.0.0.1"})


def addresses(trace: str) -> set[str]:
    """Return every Internet address in the traced calls."""
    hosts = set()
    for line in trace.splitlines():
        if "AF_INET" in line:
            match = re.search(r'inet_addr\("([^"]+)"\)', line) or re.search(
                r'inet_pton\(AF_INET6, "([^"]+)"', line
            )
            assert match, f"cannot read the address of: {line}"
            hosts.add(match.group(1))
    return hosts


def outside(trace: str) -> set[str]:
    """Return the addresses that are not this machine's loopback."""
    return {a for a in addresses(trace) if not a.startswith("127.")} - LOOPBACK


def executions(trace: str) -> list[str]:
    """Return every program that was started: its path, arguments and environment, as traced."""
    return [line for line in trace.splitlines() if "execve(" in line and line.endswith(" = 0")]


def read_traces(folder: Path, name: str) -> dict[int, str]:
    """Return the traces that ``strace -ff -o folder/name`` wrote, by process."""
    return {
        int(path.suffix[1:]): path.read_text(errors="replace")
        for path in sorted(folder.glob(f"{name}.*"))
    }
