"""The base class of both deployments: data, processes that end with ours, waiting for rounds."""

import os
import socket
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from benchmarks.deployed.byte_counter import HOST, Bytes
from benchmarks.deployed.timeline import RoundTimes
from coordinator.local.children import Children, ChildSpec
from coordinator.protocol.wire import FLOWER_ENVIRONMENT

REPOSITORY = Path(__file__).parents[2]
APP = Path(__file__).with_name("app")
PROGRAMS = Path(sys.executable).parent
_PORTS = range(13_000, 20_000)
"""Below the ranges from which our own daemons and the kernel choose ports."""


class DeploymentError(RuntimeError):
    """A deployment failed."""


class Deployment(ABC):
    """A federation of processes; a context manager that ends them all.

    Parameters
    ----------
    folder
        A new folder for its files.
    nodes
        Number of participants.
    rounds
        Number of rounds.
    """

    name: str
    settle_s = 5.0
    """Seconds from the last round until the deployment is idle."""

    def __init__(self, folder: Path, nodes: int, rounds: int) -> None:
        self.folder, self.nodes, self.rounds = folder, nodes, rounds
        self.began = 0.0
        self._children = Children()
        folder.mkdir(parents=True)

    @abstractmethod
    def start(self) -> None:
        """Start every process; sets ``began``."""

    @abstractmethod
    def times(self) -> list[RoundTimes]:
        """Return the rounds that are sealed."""

    @abstractmethod
    def traffic(self) -> dict[str, Bytes]:
        """Return the bytes so far, by port."""

    def roots(self) -> dict[str, int]:
        """Return the processes that were started here, by name."""
        pids = {child.name: child.pid for child in self._children.status()}
        return {name: pid for name, pid in pids.items() if pid is not None}

    def check(self) -> None:
        """Raise if a process has ended."""
        for child in self._children.status():
            if child.state == "ended":
                log = self.folder / f"{child.name}.log"
                raise DeploymentError(
                    f"{child.name} ended with status {child.returncode}: "
                    + log.read_text(errors="replace")[-2000:]
                )

    def wait_for(self, sealed: int, within_s: float) -> list[RoundTimes]:
        """Return the rounds once ``sealed`` of them are sealed."""
        end = time.monotonic() + within_s
        while len(times := self.times()) < sealed:
            self.check()
            if time.monotonic() > end:
                raise DeploymentError(
                    f"{self.name}: {len(times)} of {sealed} rounds after {within_s:.0f} s"
                )
            time.sleep(0.1)
        return times

    def __enter__(self) -> "Deployment":
        return self

    def __exit__(self, *_: object) -> None:
        self._children.stop(grace_s=20.0)

    def _run(self, name: str, *command: str | Path, **environment: str) -> None:
        self._children.add(
            ChildSpec(
                name=name,
                command=tuple(map(str, command)),
                environment={**base_environment(), **environment},
                folder=self.folder,
                log=self.folder / f"{name}.log",
                keep=False,
            )
        )


def base_environment() -> dict[str, str]:
    """Return the environment of both deployments' processes: no telemetry, one thread each."""
    return {
        **os.environ,
        **FLOWER_ENVIRONMENT,
        "PATH": f"{PROGRAMS}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(APP)]),
        "NO_COLOR": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def write_data(folder: Path, nodes: int) -> list[Path]:
    """Divide scikit-learn's digits; return a file for each node."""
    digits = load_digits()
    x, y = (digits.data / 16).astype(np.float32), digits.target.astype(np.int64)
    paths = []
    for node in range(nodes):
        paths.append(folder / f"data{node}.npz")
        np.savez(paths[-1], x=x[node::nodes], y=y[node::nodes])
    return paths


def free_ports(count: int) -> list[int]:
    """Return free ports of loopback."""
    free: list[int] = []
    for port in _PORTS:
        if len(free) == count:
            break
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            free.append(port)
    return free


def wait_until_listening(port: int, within_s: float = 120.0) -> None:
    """Return once a process listens on the port."""
    end = time.monotonic() + within_s
    while True:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        if time.monotonic() > end:
            raise DeploymentError(f"nobody listens on port {port} after {within_s:.0f} s")
        time.sleep(0.05)


def with_lines(text: str, replacements: Mapping[str, str]) -> str:
    """Return a TOML text with some lines replaced, each of which must exist."""
    for line, replacement in replacements.items():
        if line not in text:
            raise DeploymentError(f"settings have no line {line!r}:\n{text}")
        text = text.replace(line, replacement)
    return text
