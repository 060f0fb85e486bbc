"""Runs the demonstration's five daemons as an operator would, each in a process.

They end with this process, however it ends; each writes to its own log.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from coordinator.local.children import Children, ChildSpec, ChildStatus
from coordinator.protocol.errors import FedproofError

COORDINATOR: Final = "coordinator"
STOP_S: Final = 40.0
_TAIL_LINES: Final = 5


class DaemonEndedError(FedproofError):
    """A daemon ended too early; the message has the end of its log."""


class Daemons:
    """The daemons of a coordinator and its hospitals; a context manager that ends them.

    Parameters
    ----------
    folder
        The folder that :func:`simulations.hospitals.founding.found_hospitals` made.
    hospitals
        Names of the hospitals.
    """

    def __init__(self, folder: Path, hospitals: Sequence[str]) -> None:
        self._folder = folder
        self._hospitals = hospitals
        self._children = Children()

    def start(self) -> None:
        """Start all daemons; returns at once."""
        self._add(COORDINATOR, "coordinator", self._folder / "coordinator" / "coordinator.toml")
        for name in self._hospitals:
            self._add(name, "client", self._folder / name / "participant.toml")

    def check(self) -> None:
        """Raise if a daemon has ended.

        Raises
        ------
        DaemonEndedError
            If one has ended; names it, its exit status and its log.
        """
        for child in self._children.status():
            if child.state == "ended":
                raise self._ended(child)

    def running(self) -> Mapping[str, int | None]:
        """Return the process numbers by name."""
        return {child.name: child.pid for child in self._children.status()}

    def stop(self) -> None:
        """End all daemons by SIGTERM, then by SIGKILL. May be called again."""
        self._children.stop(grace_s=STOP_S)

    def __enter__(self) -> "Daemons":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def log(self, name: str) -> Path:
        """Return the path of a daemon's log."""
        return self._folder / "logs" / f"{name}.log"

    def _add(self, name: str, command: str, config: Path) -> None:
        spec = ChildSpec(
            name=name,
            command=(sys.executable, "-P", "-m", "simulations", command, "--config", str(config)),
            environment=daemon_environment(),
            folder=config.parent,
            log=self.log(name),
            keep=False,
        )
        self._children.add(spec)

    def _ended(self, child: ChildStatus) -> DaemonEndedError:
        path = self.log(child.name)
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
        return DaemonEndedError(
            f"{child.name} ended with status {child.returncode}; {path} ends with: "
            + " | ".join(lines)
        )


def daemon_environment() -> dict[str, str]:
    """Return an environment for processes of this machine: plain output, one thread each."""
    packages = str(Path(__file__).parents[2])
    paths = [packages, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "NO_COLOR": "1",
        "COLUMNS": "160",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
