"""``GET /metrics``: metrics of the service, the chain and this process, for Prometheus.

Counters start with the process; values on the chain are read from the chain. Thread-safe. Every
service has its own registry, so several can run in one process.

References
----------
https://prometheus.io/docs/instrumenting/exposition_formats/
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Histogram,
    Metric,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from coordinator.http.chain_facts import ChainFacts
from coordinator.http.snapshot import ServiceSnapshot
from coordinator.protocol.round import machine as machine
from coordinator.protocol.round.evaluation import EvaluationSummary
from coordinator.protocol.round.feed import FeedItem

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
BUCKETS_S: Final = (1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 3_600.0)
"""Upper bounds of the histogram of round durations."""
RPC_CLASSES: Final = {
    "eth_sendRawTransaction": "send",
    "eth_call": "call",
    "eth_estimateGas": "call",
    "eth_getLogs": "logs",
}


class Telemetry:
    """Counts rounds, updates, requests and bytes.

    Parameters
    ----------
    monotonic
        A clock in seconds that never goes back.

    Attributes
    ----------
    registry
        The counters of this class, and the kernel's of this process.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._began_s: float | None = None
        self.registry: Final = CollectorRegistry()
        self._rounds = self._counter(
            "fedproof_rounds_ended_total", "Rounds this process sealed or gave up.", "status"
        )
        self._durations = Histogram(
            "fedproof_round_seconds",
            "Seconds from opening a round to its seal.",
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._accepted = self._counter(
            "fedproof_updates_accepted_total", "Updates that passed every check."
        )
        self._refused = self._counter(
            "fedproof_updates_refused_total", "Submissions that were not taken, by reason.", "code"
        )
        self._out_of_step = self._counter(
            "fedproof_replies_out_of_step_total",
            "Replies to an earlier instruction than the node's last.",
        )
        self._evaluations: Counter | None = None
        self._requests = self._counter(
            "fedproof_http_requests_total", "HTTP requests answered.", "route", "status"
        )
        self._sent_bytes = self._counter(
            "fedproof_http_sent_bytes_total", "Bytes of the bodies of answers.", "route"
        )
        self._rpc = self._counter(
            "fedproof_rpc_requests_total", "JSON-RPC requests, by class.", "class", "outcome"
        )
        ProcessCollector(registry=self.registry)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self.registry)

    def observe(self, item: FeedItem) -> None:
        """Count an event of a round; to be subscribed to the rounds' feed."""
        match event := item.event:
            case machine.RoundOpened():
                with self._lock:
                    self._began_s = self._monotonic()
            case machine.UpdateAccepted():
                self._accepted.inc()
            case machine.UpdateRefused():
                self.count_refusal(event.code)
            case machine.Equivocated():
                self.count_refusal("equivocation")
            case machine.RoundSealed():
                self._end_round("sealed")
            case machine.RoundVoided():
                self._end_round("void")
            case _:
                pass

    def _end_round(self, status: str) -> None:
        self._rounds.labels(status=status).inc()
        with self._lock:
            began_s, self._began_s = self._began_s, None
        if status == "sealed" and began_s is not None:
            self._durations.observe(self._monotonic() - began_s)

    def count_refusal(self, code: str) -> None:
        """Count a submission that was refused."""
        self._refused.labels(code=code).inc()

    def count_out_of_step(self, replies: int) -> None:
        """Count replies to an earlier instruction than their node's last."""
        self._out_of_step.inc(replies)

    def count_evaluation(self, outcome: str) -> None:
        """Count a participant's evaluation: ``accepted``, ``refused`` or ``no-reply``."""
        with self._lock:
            # Made at its first use: a federation without evaluation has the page it always had.
            if self._evaluations is None:
                meaning = "Participants' evaluations of a model, by outcome."
                name = "fedproof_evaluations_total"
                self._evaluations = self._counter(name, meaning, "outcome")
        self._evaluations.labels(outcome=outcome).inc()

    def count_request(self, route: str, status: int, sent_bytes: int) -> None:
        """Count an HTTP request that was answered."""
        self._requests.labels(route=route, status=str(status)).inc()
        self._sent_bytes.labels(route=route).inc(sent_bytes)

    def count_rpc(self, method: str, succeeded: bool) -> None:
        """Count a JSON-RPC request; to be passed to the chain's dispatcher."""
        kind = RPC_CLASSES.get(method, "read") if method else "unknown"
        outcome = "ok" if succeeded else "refused"
        self._rpc.labels(**{"class": kind, "outcome": outcome}).inc()

    @property
    def accepted(self) -> int:
        """Updates that passed every check."""
        return sum(int(sample.value) for sample in _samples(self._accepted))

    @property
    def refused(self) -> dict[str, int]:
        """Refused submissions, by code."""
        return {sample.labels["code"]: int(sample.value) for sample in _samples(self._refused)}


def metrics_page(
    snapshot: ServiceSnapshot,
    facts: ChainFacts | None,
    telemetry: Telemetry,
    certificate_end_s: float | None = None,
    evaluation: EvaluationSummary | None = None,
) -> str:
    """Return the page, in Prometheus's text format 0.0.4.

    Parameters
    ----------
    facts
        ``None`` if the chain does not answer: then its metrics are absent, not zero.
    certificate_end_s
        Unix time at which the TLS certificate expires; ``None`` without one.
    evaluation
        The newest; ``None`` before the first, or if none are agreed on.
    """
    families = [*_service(snapshot, facts is not None)]
    if facts is not None:
        families += _chain(facts)
    if evaluation is not None:
        families += _evaluated(evaluation)
    families += _counted(telemetry.registry)
    if certificate_end_s is not None:
        meaning = "Unix time at which the certificate of this port ends."
        families.append(_gauge("fedproof_certificate_end_seconds", meaning, certificate_end_s))
    return generate_latest(_Families(families)).decode()


class _Families(Collector):
    """Metrics that were collected already, in the form that the library's writer requires."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _samples(counter: Counter) -> list[Sample]:
    return [sample for family in counter.collect() for sample in _without_times(family).samples]


def _counted(registry: CollectorRegistry) -> Iterator[Metric]:
    yield from map(_without_times, registry.collect())


def _without_times(family: Metric) -> Metric:
    """Remove the ``_created`` sample that the library adds to every counter.

    The library's own switch for it is global, and would change the metrics of importing programs.
    """
    family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
    return family


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=value)


def _gauges(name: str, meaning: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, meaning, labels=[label])
    for key in sorted(values):
        family.add_metric([key], values[key])
    return family


def _service(snapshot: ServiceSnapshot, has_chain: bool) -> Iterator[Metric]:
    ready = int(has_chain and not snapshot.not_ready)
    yield _gauge("fedproof_ready", "1 if rounds can be run now.", ready)
    yield _gauge("fedproof_round", "Round in hand, 0 before the first.", snapshot.round_id)
    meaning = "Bonded contributors whose nodes are connected."
    yield _gauge("fedproof_contributors_online", meaning, len(snapshot.online))
    running = {n: int(s.startswith("running")) for n, s in snapshot.children.items()}
    meaning = "1 for a supervised process that runs."
    yield _gauges("fedproof_child_up", meaning, "child", running)
    meaning = "Those online whose replies come one round late."
    yield _gauge("fedproof_contributors_out_of_step", meaning, len(snapshot.out_of_step))


def _evaluated(evaluation: EvaluationSummary) -> Iterator[Metric]:
    meaning = "Round whose model participants evaluated last."
    yield _gauge("fedproof_evaluation_round", meaning, evaluation.round_id)
    meaning = "Participants whose evaluation of it counts."
    yield _gauge("fedproof_evaluation_participants", meaning, evaluation.answered)
    meaning = "What they claim of it, by metric: the mean weighted by their test examples."
    means = {name: spread.mean for name, spread in evaluation.metrics.items()}
    yield _gauges("fedproof_evaluation", meaning, "metric", means)
    if evaluation.public is not None:
        meaning = "Share of the agreed public set that the model gets right; anybody can check it."
        accuracy = evaluation.public.accuracy
        yield _gauge("fedproof_evaluation_public_accuracy", meaning, accuracy)
        if evaluation.public.loss is not None:
            meaning = "Its mean cross-entropy on the agreed public set."
            yield _gauge("fedproof_evaluation_public_loss", meaning, evaluation.public.loss)


def _chain(facts: ChainFacts) -> Iterator[Metric]:
    head = facts.head
    yield _gauge("fedproof_chain_up", "1 if the chain answers.", 1)
    yield _gauge("fedproof_chain_head_block", "Number of the head.", facts.block.number)
    yield _gauge("fedproof_chain_head_time_seconds", "Time of the head.", facts.block.timestamp)
    yield _gauges("fedproof_rounds", "Rounds on chain, by status.", "status", facts.rounds)
    yield _gauge("fedproof_contributors_bonded", "Contributors with a bond.", len(facts.bonds))
    yield _gauge("fedproof_members", "Addresses that ever joined.", head.member_count)
    for name, wei, meaning in (
        ("bonded_stake", sum(facts.bonds.values()), "Bonds of all contributors together."),
        ("coordinator_bond", facts.coordinator_bond_wei, "The coordinator's bond."),
        ("pool", head.pool_wei, "The reward pool."),
        ("pledged", head.pledged_wei, "What rounds that are not final may take from the pool."),
        ("unclaimed", head.reserve_wei, "Final rewards that nobody has claimed yet."),
    ):
        yield _gauge(f"fedproof_{name}_wei", meaning, wei)
