"""A federation of real processes against plain Flower: a round, a participant, the wire, the start.

Everybody on one machine, each participant with processes of its own, all connections TLS, nodes
authenticated, digits of scikit-learn divided among the participants, an MLP of 100,810 parameters
trained one epoch by the same unmodified ClientApp. ``fedproof`` is what ``fedproof federation
init`` makes: the app runs in each participant's daemon, which Flower's process for each message
only passes it to. ``plain Flower`` has its own defaults: the app and torch are started anew for
each message. ``echo`` is plain Flower with an app that imports no torch and trains nothing: what
Flower's polling and starting of processes take by themselves. The three alternate.

A round lasts from the last one's seal to its own; the first of each run, which loads kernels and
fetches the app, is not counted, and medians are of all others. Its phases are those of the
participant that was done last. Memory is PSS, with RSS in parentheses, right after the last round;
processes that Flower starts and ends were looked at while they lived (their largest). Bytes are
counted on the wire by a proxy in front of each port, from one seal to the next. Idle is the time
after the last round. Key files open at once here; scrypt would add a second to each start.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.deployed.deployment import Deployment, DeploymentError
from benchmarks.deployed.fedproof import Fedproof
from benchmarks.deployed.measure import Measured, play
from benchmarks.deployed.plain import PlainFlower
from benchmarks.deployed.timeline import PHASES
from benchmarks.harness import available_memory_bytes

FEW, MANY = 4, 32
ROUNDS = {FEW: 4, MANY: 3}
REPEATS = {FEW: 2, MANY: 1}
IDLE_S = 12.0
_SPARE = 0.9
"""Of the memory there is, for the processes of a deployment."""
_PARTS = {
    "participant": ("daemon", "SuperNode", "superexec", "ClientApp"),
    "coordinator": ("service", "SuperLink", "superexec", "ServerApp"),
}

Rivals = dict[str, Measured]
Row = dict[str, Any]


def run(options: Sequence[str] = ()) -> list[Row]:
    """Return rows for a few participants, then for as many as the machine holds.

    ``options``: ``--daemons N`` for that number only, ``--rounds R`` of each run.
    """
    chosen = _parser().parse_args(list(options))
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="fedproof-bench-") as folder:
        few = chosen.daemons or FEW
        rivals = measured(Path(folder) / "few", few, chosen.rounds or ROUNDS[FEW], REPEATS[FEW])
        rows += list(table(few, rivals))
        if not chosen.daemons:
            many = most_participants(rivals)
            rivals = measured(
                Path(folder) / "many", many, chosen.rounds or ROUNDS[MANY], REPEATS[MANY]
            )
            rows += list(table(many, rivals))
    return rows


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks federation")
    parser.add_argument("--daemons", type=int, help=f"instead of {FEW} and {MANY}")
    parser.add_argument("--rounds", type=int, help="of each run, the first is not counted")
    return parser


def measured(folder: Path, nodes: int, rounds: int, repeats: int) -> Rivals:
    """Play the rivals in turn; only with few participants is there time for all three."""
    makers: dict[str, Callable[[Path, int, int], Deployment]] = {
        "fedproof": Fedproof,
        "plain Flower": PlainFlower,
    }
    if nodes < MANY // 2:
        makers["echo"] = partial(PlainFlower, client_app="echo_app")
    rivals = {name: Measured() for name in makers}
    for repeat in range(repeats):
        for name, made in makers.items():
            if name == "echo" and repeat:
                continue
            idle_s = IDLE_S if repeat == 0 and "echo" in makers and name != "echo" else 0.0
            print(f"  {nodes} participants, {name}, run {repeat + 1}", file=sys.stderr, flush=True)
            play(
                made(folder / f"{name.split()[0]}{repeat}", nodes, rounds),
                rivals[name],
                start_s=300.0 + 12 * nodes,
                round_s=90.0 + 8 * nodes,
                idle_s=idle_s,
            )
    return rivals


def most_participants(rivals: Rivals) -> int:
    """Return how many participants this machine has memory for, at most :data:`MANY`."""
    room = _SPARE * available_memory_bytes() / 2**20
    fit = []
    for one in rivals.values():
        each, coordinator = one.of("participant"), one.of("coordinator")
        once = coordinator.rss + each.rss - each.private  # what all have in common is there once
        fit.append(int((room - once) / each.private))
    most = min(fit)
    if most < FEW:
        raise DeploymentError(f"{room:.0f} MB are free: too little for {FEW} participants")
    return min(MANY, most)


# --- rows ---------------------------------------------------------------------------------------


def table(nodes: int, rivals: Rivals) -> Iterator[Row]:
    """Return the rows of one number of participants."""
    median = statistics.median
    yield _row(nodes, "round, s", {n: median(m.rounds) for n, m in rivals.items()})
    for number, phase in enumerate(PHASES):
        values = {n: median(p[number] for p in m.phases) for n, m in rivals.items()}
        yield _row(nodes, f"- {phase}, s", values)
    opened = {n: median(m.opened_after) for n, m in rivals.items()}
    yield _row(nodes, "start to first round opened, s", opened)
    sealed = {n: median(m.sealed_after) for n, m in rivals.items()}
    yield _row(nodes, "start to first round sealed, s", sealed)
    yield from _bytes(nodes, rivals)
    yield from _memory(nodes, rivals)
    for whose in _PARTS:
        idle = {n: m.idle_cpu[whose] for n, m in rivals.items() if m.idle_cpu}
        if idle:
            yield _row(nodes, f"idle {whose}, processor s a minute", idle)


def _bytes(nodes: int, rivals: Rivals) -> Iterator[Row]:
    for at, direction in enumerate(("to the coordinator", "from the coordinator")):
        by_port = {
            name: {
                port: statistics.median(pair[at] for pair in pairs) / 1e3
                for port, pairs in one.bytes.items()
            }
            for name, one in rivals.items()
        }
        what = f"{direction}, kB a round and participant"
        yield _row(nodes, what, {name: sum(ports.values()) for name, ports in by_port.items()})
        chain = {n: ports["http"] for n, ports in by_port.items() if "http" in ports}
        yield _row(nodes, "- of it chain and store", chain)


def _memory(nodes: int, rivals: Rivals) -> Iterator[Row]:
    for whose, parts in _PARTS.items():
        totals = {n: m.of(whose).pss for n, m in rivals.items()}
        yield _row(nodes, f"{whose}, all processes, MB", totals)
        for part in parts:
            found = {n: m.memory.get((whose, part)) for n, m in rivals.items()}
            row = _row(nodes, f"- {part}, MB", {n: m.pss for n, m in found.items() if m})
            row |= {n: f"{m.pss:.0f} ({m.rss:.0f})" for n, m in found.items() if m}
            yield row


def _row(nodes: int, what: str, values: dict[str, float]) -> Row:
    """Return a row; numbers as text, so that all cells of a column look alike."""
    cells = {name: _text(value) for name, value in values.items()}
    ours, plain = values.get("fedproof"), values.get("plain Flower")
    return {
        "participants": nodes,
        "what": what,
        "fedproof": cells.get("fedproof", ""),
        "plain Flower": cells.get("plain Flower", ""),
        "ratio": _text(ours / plain) if ours is not None and plain else "",
        "echo": cells.get("echo", ""),
    }


def _text(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    from benchmarks.harness import table as markdown

    print(markdown(run()))
