"""Where a running service is reached, and how its children are: facts for tools and people."""

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from coordinator.adapters.run_folder import write_atomically
from coordinator.core.errors import StoreError
from coordinator.local.children import ChildStatus

_log = logging.getLogger("fedproof.coordinator")


@dataclass(frozen=True, slots=True)
class Addresses:
    """``http`` is a URL, ``superlink`` is ``host:port``."""

    http: str
    superlink: str


def service_file(state: Path) -> Path:
    """Return the file that says where a service is reached: ``pid``, ``http``, ``superlink``."""
    return state / "run" / "service.json"


def tell_where(state: Path, where: Addresses) -> None:
    """Write where this life is reached; a full disk only keeps others from knowing."""
    told = json.dumps({"pid": os.getpid(), **asdict(where)}).encode() + b"\n"
    try:
        write_atomically(service_file(state), told)
    except StoreError as error:
        _log.error("%s", error)


def state_of(child: ChildStatus) -> str:
    """Return a line about a child, for ``/status``."""
    if child.state == "running":
        return f"running (pid {child.pid})"
    return f"{child.state} (status {child.returncode}, started {child.starts} times)"
