"""The page is Prometheus's text format: the library's own parser reads it."""

import pytest
from http_asking import samples
from prometheus_client.parser import text_string_to_metric_families

from coordinator.http.metrics import Telemetry, metrics_page
from coordinator.http.snapshot import ServiceSnapshot
from coordinator.protocol.round.evaluation import PublicResult, summarise
from coordinator.protocol.types import RoundId

WAITING = ServiceSnapshot("waiting", 0, (), (), {"superlink": "running (pid 7)"})
OWN = {
    "fedproof_ready": "gauge",
    "fedproof_round": "gauge",
    "fedproof_contributors_online": "gauge",
    "fedproof_contributors_out_of_step": "gauge",
    "fedproof_child_up": "gauge",
    "fedproof_rounds_ended": "counter",
    "fedproof_round_seconds": "histogram",
    "fedproof_updates_accepted": "counter",
    "fedproof_updates_refused": "counter",
    "fedproof_replies_out_of_step": "counter",
    "fedproof_http_requests": "counter",
    "fedproof_http_sent_bytes": "counter",
    "fedproof_rpc_requests": "counter",
}


def test_every_metric_has_a_meaning_and_a_type() -> None:
    families = list(text_string_to_metric_families(metrics_page(WAITING, None, Telemetry())))
    assert all(family.documentation.endswith(".") for family in families)
    own = {one.name: one.type for one in families if one.name.startswith("fedproof_")}
    assert own == OWN
    assert {one.name for one in families} - {*OWN} == {
        "process_cpu_seconds",
        "process_max_fds",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_virtual_memory_bytes",
    }


def test_evaluations_have_a_meaning_and_a_type_once_there_are_some() -> None:
    telemetry = Telemetry()
    for outcome in ("accepted", "no-reply", "accepted"):
        telemetry.count_evaluation(outcome)
    public = PublicResult(8, 6, 0.5)
    summary = summarise(RoundId(3), bytes(32), {}, ["no-reply"], 100, public)
    page = metrics_page(WAITING, None, telemetry, None, summary)
    families = {one.name: one for one in text_string_to_metric_families(page)}
    new = {name for name in families if name.startswith("fedproof_") and name not in OWN}
    assert new == {
        "fedproof_evaluation",
        "fedproof_evaluation_participants",
        "fedproof_evaluation_public_accuracy",
        "fedproof_evaluation_public_loss",
        "fedproof_evaluation_round",
        "fedproof_evaluations",
    }
    assert all(families[name].documentation.endswith(".") for name in new)
    assert {
        sample.labels["outcome"]: sample.value
        for sample in families["fedproof_evaluations"].samples
    } == {
        "accepted": 2,
        "no-reply": 1,
    }


def test_what_would_break_a_line_is_read_back() -> None:
    telemetry, code = Telemetry(), 'he said "no"\n\\'
    telemetry.count_refusal(code)
    (refused,) = (
        family
        for family in text_string_to_metric_families(metrics_page(WAITING, None, telemetry))
        if family.name == "fedproof_updates_refused"
    )
    assert [(one.labels, one.value) for one in refused.samples] == [({"code": code}, 1.0)]


@pytest.mark.parametrize("end", [0.0, 1_800_000_000.5, float("inf")])
def test_numbers_are_read_back(end: float) -> None:
    shown = samples(metrics_page(WAITING, None, Telemetry(), end))
    assert shown["fedproof_certificate_end_seconds"] == end


def test_two_services_in_one_process_count_by_themselves() -> None:
    first, second = Telemetry(), Telemetry()
    first.count_request("blobs", 200, 5)
    name = 'fedproof_http_requests_total{route="blobs",status="200"}'
    assert samples(metrics_page(WAITING, None, first))[name] == 1
    assert name not in samples(metrics_page(WAITING, None, second))
