"""``GET /metrics``: what the service, the chain and this process look like, for Prometheus.

Counts are of this process's life; what the chain knows is asked of the chain. Safe to share among
threads.

References
----------
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import math
import os
import resource
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from coordinator.http.chain_facts import ChainFacts
from coordinator.http.snapshot import ServiceSnapshot
from coordinator.protocol.round import machine as machine
from coordinator.protocol.round.feed import FeedItem

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
Kind = Literal["counter", "gauge", "histogram"]
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class Exposition:
    """Collects samples and writes them as text.

    Examples
    --------
    >>> page = Exposition()
    >>> page.family("fedproof_online", "gauge", "Contributors that are there.")
    >>> page.sample("fedproof_online", 3)
    >>> print(page.text(), end="")
    # HELP fedproof_online Contributors that are there.
    # TYPE fedproof_online gauge
    fedproof_online 3
    """

    def __init__(self) -> None:
        self._lines: list[str] = []

    def family(self, name: str, kind: Kind, meaning: str) -> None:
        """Begin a metric; its samples follow."""
        shown = meaning.replace("\\", r"\\").replace("\n", r"\n")
        self._lines += [f"# HELP {name} {shown}", f"# TYPE {name} {kind}"]

    def sample(self, name: str, value: float, **labels: str) -> None:
        """Add one sample of the metric begun last."""
        named = ",".join(f'{k}="{v.translate(_ESCAPES)}"' for k, v in labels.items())
        self._lines.append(f"{name}{{{named}}} {_number(value)}" if named else _plain(name, value))

    def single(self, name: str, kind: Kind, meaning: str, value: float) -> None:
        """Add a metric that has one sample and no labels."""
        self.family(name, kind, meaning)
        self.sample(name, value)

    def by_label(
        self, name: str, kind: Kind, meaning: str, label: str, values: Mapping[str, float]
    ) -> None:
        """Add a metric with one sample for each value of a label, in order of the label."""
        self.family(name, kind, meaning)
        for key in sorted(values):
            self.sample(name, values[key], **{label: key})

    def text(self) -> str:
        """Return the page."""
        return "".join(f"{line}\n" for line in self._lines)


def _plain(name: str, value: float) -> str:
    return f"{name} {_number(value)}"


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


BUCKETS_S: Final = (1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 3_600.0)
"""Upper bounds of the histogram of round durations."""
RPC_CLASSES: Final = {
    "eth_sendRawTransaction": "send",
    "eth_call": "call",
    "eth_estimateGas": "call",
    "eth_getLogs": "logs",
}


@dataclass(frozen=True, slots=True)
class Durations:
    """A histogram: rounds that took at most each of ``BUCKETS_S``, all rounds, their seconds."""

    within: tuple[int, ...]
    count: int
    sum_s: float
    last_s: float


class Telemetry:
    """Counts rounds, updates, requests and bytes.

    Parameters
    ----------
    monotonic
        A clock in seconds that never goes back.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._accepted = 0
        self._refused: Counter[str] = Counter()
        self._rounds: Counter[str] = Counter()
        self._requests: Counter[tuple[str, str]] = Counter()
        self._sent_bytes: Counter[str] = Counter()
        self._rpc: Counter[tuple[str, str]] = Counter()
        self._began_s: float | None = None
        self._within = [0] * len(BUCKETS_S)
        self._sum_s = self._last_s = 0.0
        self._timed = 0

    # --- told --------------------------------------------------------------------------------

    def observe(self, item: FeedItem) -> None:
        """Count what happened to a round; a subscriber of the rounds' feed."""
        with self._lock:
            match event := item.event:
                case machine.RoundOpened():
                    self._began_s = self._monotonic()
                case machine.UpdateAccepted():
                    self._accepted += 1
                case machine.UpdateRefused():
                    self._refused[event.code] += 1
                case machine.Equivocated():
                    self._refused["equivocation"] += 1
                case machine.RoundSealed():
                    self._rounds["sealed"] += 1
                    self._end_round()
                case machine.RoundVoided():
                    self._rounds["void"] += 1
                    self._began_s = None
                case _:
                    pass

    def _end_round(self) -> None:
        if self._began_s is None:
            return
        self._last_s = self._monotonic() - self._began_s
        self._began_s = None
        self._sum_s += self._last_s
        self._timed += 1
        place = bisect_left(BUCKETS_S, self._last_s)
        for index in range(place, len(BUCKETS_S)):
            self._within[index] += 1

    def count_refusal(self, code: str) -> None:
        """Count a submission that was refused before it reached the round."""
        with self._lock:
            self._refused[code] += 1

    def count_request(self, route: str, status: int, sent_bytes: int) -> None:
        """Count an HTTP request that was answered."""
        with self._lock:
            self._requests[route, str(status)] += 1
            self._sent_bytes[route] += sent_bytes

    def count_rpc(self, method: str, succeeded: bool) -> None:
        """Count a JSON-RPC request; an observer for the chain's dispatcher."""
        kind = RPC_CLASSES.get(method, "read") if method else "unknown"
        with self._lock:
            self._rpc[kind, "ok" if succeeded else "refused"] += 1

    # --- asked -------------------------------------------------------------------------------

    @property
    def accepted(self) -> int:
        """Updates that passed every check."""
        return self._accepted

    @property
    def refused(self) -> dict[str, int]:
        """Refused submissions, by code."""
        with self._lock:
            return dict(self._refused)

    @property
    def rounds(self) -> dict[str, int]:
        """Rounds that ended in this process's life, by how."""
        with self._lock:
            return dict(self._rounds)

    @property
    def durations(self) -> Durations:
        """Seconds from the opening of a round to its seal."""
        with self._lock:
            return Durations(tuple(self._within), self._timed, self._sum_s, self._last_s)

    @property
    def requests(self) -> dict[tuple[str, str], int]:
        """HTTP requests, by route and status."""
        with self._lock:
            return dict(self._requests)

    @property
    def sent_bytes(self) -> dict[str, int]:
        """Bytes of answers' bodies, by route."""
        with self._lock:
            return dict(self._sent_bytes)

    @property
    def rpc(self) -> dict[tuple[str, str], int]:
        """JSON-RPC requests, by class and outcome."""
        with self._lock:
            return dict(self._rpc)


_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def metrics_page(
    snapshot: ServiceSnapshot,
    facts: ChainFacts | None,
    telemetry: Telemetry,
    certificate_end_s: float | None = None,
) -> str:
    """Return the page.

    Parameters
    ----------
    facts
        ``None`` if the chain does not answer: then its metrics are absent, not zero.
    certificate_end_s
        Unix time at which the TLS certificate ends, if there is one.
    """
    page = Exposition()
    _service(page, snapshot, facts is not None)
    if facts is not None:
        _chain(page, facts)
    _rounds(page, telemetry)
    _traffic(page, telemetry)
    if certificate_end_s is not None:
        meaning = "Unix time at which the certificate of this port ends."
        page.single("fedproof_certificate_end_seconds", "gauge", meaning, certificate_end_s)
    _process(page)
    return page.text()


def _service(page: Exposition, snapshot: ServiceSnapshot, has_chain: bool) -> None:
    ready = int(has_chain and not snapshot.not_ready)
    page.single("fedproof_ready", "gauge", "1 if rounds can be run now.", ready)
    page.single("fedproof_round", "gauge", "Round in hand, 0 before the first.", snapshot.round_id)
    meaning = "Bonded contributors whose nodes are connected."
    page.single("fedproof_contributors_online", "gauge", meaning, len(snapshot.online))
    running = {n: int(s.startswith("running")) for n, s in snapshot.children.items()}
    meaning = "1 for a supervised process that runs."
    page.by_label("fedproof_child_up", "gauge", meaning, "child", running)


def _chain(page: Exposition, facts: ChainFacts) -> None:
    head = facts.head
    page.single("fedproof_chain_up", "gauge", "1 if the chain answers.", 1)
    page.single("fedproof_chain_head_block", "gauge", "Number of the head.", facts.block.number)
    meaning = "Time of the head."
    page.single("fedproof_chain_head_time_seconds", "gauge", meaning, facts.block.timestamp)
    meaning = "Rounds on chain, by status."
    page.by_label("fedproof_rounds", "gauge", meaning, "status", dict(facts.rounds))
    meaning = "Contributors with a bond."
    page.single("fedproof_contributors_bonded", "gauge", meaning, len(facts.bonds))
    meaning = "Addresses that ever joined."
    page.single("fedproof_members", "gauge", meaning, head.member_count)
    for name, wei, meaning in (
        ("bonded_stake", sum(facts.bonds.values()), "Bonds of all contributors together."),
        ("coordinator_bond", facts.coordinator_bond_wei, "The coordinator's bond."),
        ("pool", head.pool_wei, "The reward pool."),
        ("pledged", head.pledged_wei, "What rounds that are not final may take from the pool."),
        ("unclaimed", head.reserve_wei, "Final rewards that nobody has claimed yet."),
    ):
        page.single(f"fedproof_{name}_wei", "gauge", meaning, wei)


def _rounds(page: Exposition, telemetry: Telemetry) -> None:
    page.by_label(
        "fedproof_rounds_ended_total",
        "counter",
        "Rounds this process sealed or gave up.",
        "status",
        dict(telemetry.rounds),
    )
    name, took = "fedproof_round_seconds", telemetry.durations
    page.family(name, "histogram", "Seconds from opening a round to its seal.")
    for bound, count in zip(BUCKETS_S, took.within, strict=True):
        page.sample(f"{name}_bucket", count, le=f"{bound:g}")
    page.sample(f"{name}_bucket", took.count, le="+Inf")
    page.sample(f"{name}_sum", took.sum_s)
    page.sample(f"{name}_count", took.count)
    meaning = "Updates that passed every check."
    page.single("fedproof_updates_accepted_total", "counter", meaning, telemetry.accepted)
    meaning = "Submissions that were not taken, by reason."
    name = "fedproof_updates_refused_total"
    page.by_label(name, "counter", meaning, "code", dict(telemetry.refused))


def _traffic(page: Exposition, telemetry: Telemetry) -> None:
    page.family("fedproof_http_requests_total", "counter", "HTTP requests answered.")
    for (route, status), count in sorted(telemetry.requests.items()):
        page.sample("fedproof_http_requests_total", count, route=route, status=status)
    meaning = "Bytes of the bodies of answers."
    name = "fedproof_http_sent_bytes_total"
    page.by_label(name, "counter", meaning, "route", dict(telemetry.sent_bytes))
    page.family("fedproof_rpc_requests_total", "counter", "JSON-RPC requests, by class.")
    for (kind, outcome), count in sorted(telemetry.rpc.items()):
        page.sample("fedproof_rpc_requests_total", count, **{"class": kind, "outcome": outcome})


def _process(page: Exposition) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    meaning = "Processor time of this process."
    page.single("process_cpu_seconds_total", "counter", meaning, used.ru_utime + used.ru_stime)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    meaning = "Resident memory of this process."
    page.single("process_resident_memory_bytes", "gauge", meaning, pages * _PAGE_BYTES)
    files = len(os.listdir("/proc/self/fd"))
    page.single("process_open_fds", "gauge", "Open file descriptors.", files)
