"""Runs a deployment's rounds and measures time, memory, bytes and idle processor time."""

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.deployed.byte_counter import Bytes
from benchmarks.deployed.deployment import Deployment
from benchmarks.deployed.process_memory import (
    Kind,
    Memory,
    MemorySampler,
    cpu_seconds,
    memory,
    processes,
)
from benchmarks.deployed.timeline import latencies, phases


@dataclass
class Measured:
    """The measurements of one or more runs of a deployment.

    In seconds; ``phases`` has one entry per round; ``bytes`` are per participant and round;
    ``memory`` is per process; ``idle_cpu`` is per participant, or the coordinator's, in seconds per
    minute.
    """

    opened_after: list[float] = field(default_factory=list)
    sealed_after: list[float] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)
    phases: list[list[float]] = field(default_factory=list)
    bytes: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    memory: dict[Kind, Memory] = field(default_factory=dict)
    idle_cpu: dict[str, float] = field(default_factory=dict)

    def of(self, whose: str) -> Memory:
        """Return the memory of all processes of one participant, or of the coordinator."""
        parts = [m for (owner, _), m in self.memory.items() if owner == whose]
        return Memory(
            sum(m.pss for m in parts), sum(m.rss for m in parts), sum(m.private for m in parts)
        )


def play(
    deployment: Deployment, into: Measured, *, start_s: float, round_s: float, idle_s: float = 0.0
) -> None:
    """Start a deployment, wait for all rounds, measure it idle, and stop it.

    Parameters
    ----------
    start_s, round_s
        Longest time of the first round, and of each later one.
    idle_s
        Time over which idle processes are measured; 0 for not at all.
    """
    with deployment:
        deployment.start()
        with MemorySampler(deployment.roots, every_s=0.25 + deployment.nodes / 8) as sampler:
            deployment.wait_for(1, start_s)
            before = deployment.traffic()
            times = deployment.wait_for(deployment.rounds, round_s * (deployment.rounds - 1))
            after = deployment.traffic()
        into.opened_after.append(times[0].opened - deployment.began)
        into.sealed_after.append(times[0].sealed - deployment.began)
        into.rounds += latencies(times)
        into.phases += phases(times)
        _count(into, before, after, deployment.nodes * (deployment.rounds - 1))
        into.memory |= memory(processes(deployment.roots())) | sampler.result()
        if idle_s:
            time.sleep(deployment.settle_s)
            into.idle_cpu = _idle(deployment, idle_s)


def _count(
    into: Measured, before: Mapping[str, Bytes], after: Mapping[str, Bytes], shares: int
) -> None:
    for name, total in after.items():
        passed = total.since(before[name])
        into.bytes[name].append((passed.up / shares, passed.down / shares))


def _idle(deployment: Deployment, idle_s: float) -> dict[str, float]:
    kinds = processes(deployment.roots())
    before, began = cpu_seconds(kinds), time.monotonic()
    time.sleep(idle_s)
    after, minutes = cpu_seconds(kinds), (time.monotonic() - began) / 60
    spent: dict[str, float] = defaultdict(float)
    for kind, seconds in after.items():
        share = deployment.nodes if kind[0] == "participant" else 1
        spent[kind[0]] += (seconds - before[kind]) / minutes / share
    return dict(spent)
