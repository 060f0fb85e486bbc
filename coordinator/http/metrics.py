"""``GET /metrics``: what the service, the chain and this process look like, for Prometheus."""

import os
import resource
from pathlib import Path
from typing import Final

from coordinator.http.chain_facts import ChainFacts
from coordinator.http.exposition import Exposition
from coordinator.http.snapshot import ServiceSnapshot
from coordinator.http.telemetry import BUCKETS_S, Telemetry

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
