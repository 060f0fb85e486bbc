"""A federation of real processes against plain Flower: round time, memory, network bytes, start.

All run on one machine, each participant in processes of its own, with TLS on all connections and
node authentication. The digits of scikit-learn are divided among the participants, and an MLP of
100,810 parameters is trained one epoch by the same unmodified ClientApp. ``fedproof`` is a
federation of ``fedproof federation init``: the app runs in each participant's daemon, to which
Flower's process for a message only passes it on. ``plain Flower`` has its own defaults: app and
torch are loaded again for each message. ``echo`` is plain Flower with an app that imports no torch
and trains nothing: the time of Flower's polling and process starts alone. The three alternate.

A round lasts from the previous round's seal to its own; the first of each run, which loads kernels
and fetches the app, is not counted, and medians are of all others. Phases are those of the
participant that finished last. Memory is PSS, with RSS in parentheses, right after the last round;
of processes that Flower starts and ends, the largest sample during the rounds. Bytes are counted on
the network by a proxy in front of each port, from one seal to the next. Idle is the time after the
last round. Key files here open at once; scrypt would add a second to each start.
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
"""Share of the available memory that a deployment may use."""
_PARTS = {
    "participant": ("daemon", "SuperNode", "superexec", "ClientApp"),
    "coordinator": ("service", "SuperLink", "superexec", "ServerApp"),
}

Rivals = dict[str, Measured]
Row = dict[str, Any]


def run(options: Sequence[str] = ()) -> list[Row]:
    """Return rows for a few participants, then for as many as fit into the machine's memory.

    ``options``: ``--daemons N`` for that number only, ``--rounds R`` per run.
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
    """Run the deployments in turn; all three only with few participants, to save time."""
    makers: dict[str, Callable[[Path, int, int], Deployment]] = {
        "fedproof": Fedproof,
        "plain Flower": PlainFlower,
    }
    if nodes < MANY // 2:
        makers["echo"] = partial(PlainFlower, client_app="echo_app")
    rivals = {name: Measured() for name in makers}
    for repeat in range(repeats):
        for name, make in makers.items():
            if name == "echo" and repeat:
                continue
            idle_s = IDLE_S if repeat == 0 and "echo" in makers and name != "echo" else 0.0
            print(f"  {nodes} participants, {name}, run {repeat + 1}", file=sys.stderr, flush=True)
            play(
                make(folder / f"{name.split()[0]}{repeat}", nodes, rounds),
                rivals[name],
                start_s=300.0 + 12 * nodes,
                round_s=90.0 + 8 * nodes,
                idle_s=idle_s,
            )
    return rivals


def most_participants(rivals: Rivals) -> int:
    """Return the number of participants that fit into memory, at most :data:`MANY`."""
    available_mb = _SPARE * available_memory_bytes() / 2**20
    fitting = []
    for rival in rivals.values():
        participant, coordinator = rival.of("participant"), rival.of("coordinator")
        shared = coordinator.rss + participant.rss - participant.private  # needed once
        fitting.append(int((available_mb - shared) / participant.private))
    most = min(fitting)
    if most < FEW:
        raise DeploymentError(f"{available_mb:.0f} MB are free: too little for {FEW} participants")
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
            memory = {n: m.memory.get((whose, part)) for n, m in rivals.items()}
            row = _row(nodes, f"- {part}, MB", {n: m.pss for n, m in memory.items() if m})
            row |= {n: f"{m.pss:.0f} ({m.rss:.0f})" for n, m in memory.items() if m}
            yield row


def _row(nodes: int, what: str, values: dict[str, float]) -> Row:
    """Return a row; numbers as text, so that all cells of a column have one format."""
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
