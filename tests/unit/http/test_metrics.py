"""Events are counted once, and durations fall into the right bucket."""

from http_asking import samples

from coordinator.http.metrics import Telemetry, metrics_page
from coordinator.http.snapshot import ServiceSnapshot
from coordinator.protocol.round import machine as machine
from coordinator.protocol.round.chain_round import Seal
from coordinator.protocol.round.feed import FeedItem
from coordinator.protocol.types import Address, RoundId, Signed, UpdateMessage, Wei

SEAL = Seal(bytes(32), 1, 1, Wei(1), bytes(32))
SIGNED = Signed(
    Address("0x" + "11" * 20), UpdateMessage(1, bytes(32), bytes(32), 1, bytes(32)), bytes(65)
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def page_of(told: Telemetry) -> dict[str, float]:
    snapshot = ServiceSnapshot("waiting", 0, (), (), {})
    return samples(metrics_page(snapshot, None, told))


def labelled(shown: dict[str, float], name: str) -> dict[str, float]:
    """The samples of a metric with one label, by its value."""
    return {key.split('"')[1]: n for key, n in shown.items() if key.startswith(f"{name}{{")}


def test_rounds_updates_and_refusals() -> None:
    clock = Clock()
    told = Telemetry(clock)
    told.observe(FeedItem(RoundId(1), machine.RoundOpened(deadline=9)))
    told.observe(FeedItem(RoundId(1), machine.UpdateAccepted(SIGNED)))
    told.observe(FeedItem(RoundId(1), machine.UpdateRefused("0xa", "norm", "too long")))
    told.observe(FeedItem(RoundId(1), machine.UpdateRefused("0xb", "norm", "too long")))
    told.observe(FeedItem(RoundId(1), machine.Equivocated(SIGNED, SIGNED)))
    told.count_refusal("too-large")
    clock.now += 7.5
    told.observe(FeedItem(RoundId(1), machine.RoundSealed(SEAL)))
    assert told.accepted == 1
    assert told.refused == {"norm": 2, "equivocation": 1, "too-large": 1}
    shown = page_of(told)
    assert labelled(shown, "fedproof_rounds_ended_total") == {"sealed": 1}
    assert shown["fedproof_updates_accepted_total"] == 1
    assert labelled(shown, "fedproof_updates_refused_total") == told.refused
    assert labelled(shown, "fedproof_round_seconds_bucket") == {
        "1.0": 0, "5.0": 0, "15.0": 1, "30.0": 1, "60.0": 1, "300.0": 1, "900.0": 1, "3600.0": 1,
        "+Inf": 1,
    }  # fmt: skip
    assert (shown["fedproof_round_seconds_count"], shown["fedproof_round_seconds_sum"]) == (1, 7.5)


def test_a_bucket_holds_its_own_bound_and_a_void_round_is_not_timed() -> None:
    clock = Clock()
    told = Telemetry(clock)
    for seconds in (5.0, 10_000.0):
        told.observe(FeedItem(RoundId(1), machine.RoundOpened(deadline=9)))
        clock.now += seconds
        told.observe(FeedItem(RoundId(1), machine.RoundSealed(SEAL)))
    told.observe(FeedItem(RoundId(1), machine.RoundOpened(deadline=9)))
    told.observe(FeedItem(RoundId(1), machine.RoundVoided("deadline")))
    # of a round that was open before this process started
    told.observe(FeedItem(RoundId(1), machine.RoundSealed(SEAL)))
    shown = page_of(told)
    assert labelled(shown, "fedproof_rounds_ended_total") == {"sealed": 3, "void": 1}
    within = labelled(shown, "fedproof_round_seconds_bucket")
    assert list(within.values()) == [0, 1, 1, 1, 1, 1, 1, 1, 2]
    assert shown["fedproof_round_seconds_count"] == 2


def test_rpc_methods_fall_into_few_classes() -> None:
    told = Telemetry()
    for method, succeeded in (
        ("eth_call", True),
        ("eth_estimateGas", False),
        ("eth_blockNumber", True),
        ("eth_sendRawTransaction", True),
        ("eth_getLogs", True),
        ("", False),
        ("", False),
    ):
        told.count_rpc(method, succeeded)
    shown = page_of(told)
    assert {name: n for name, n in shown.items() if name.startswith("fedproof_rpc")} == {
        'fedproof_rpc_requests_total{class="call",outcome="ok"}': 1,
        'fedproof_rpc_requests_total{class="call",outcome="refused"}': 1,
        'fedproof_rpc_requests_total{class="read",outcome="ok"}': 1,
        'fedproof_rpc_requests_total{class="send",outcome="ok"}': 1,
        'fedproof_rpc_requests_total{class="logs",outcome="ok"}': 1,
        'fedproof_rpc_requests_total{class="unknown",outcome="refused"}': 2,
    }


def test_without_a_chain_its_metrics_are_absent_and_nothing_is_ready() -> None:
    children = {"superlink": "running (pid 7)", "superexec": "restarting in 2 s"}
    snapshot = ServiceSnapshot("waiting", 4, ("0xa", "0xb"), (), children, out_of_step=("0xb",))
    told = Telemetry()
    told.count_out_of_step(3)
    told.count_request("blobs", 200, 1234)
    found = samples(metrics_page(snapshot, None, told, 1_800_000_000.0))
    assert found["fedproof_ready"] == 0
    assert found["fedproof_round"] == 4
    assert found["fedproof_contributors_online"] == 2
    assert found["fedproof_contributors_out_of_step"] == 1
    assert found["fedproof_replies_out_of_step_total"] == 3
    assert found['fedproof_child_up{child="superlink"}'] == 1
    assert found['fedproof_child_up{child="superexec"}'] == 0
    assert found['fedproof_http_requests_total{route="blobs",status="200"}'] == 1
    assert found['fedproof_http_sent_bytes_total{route="blobs"}'] == 1234
    assert found["fedproof_certificate_end_seconds"] == 1.8e9
    assert found["process_resident_memory_bytes"] > 1e6
    assert not [name for name in found if "chain" in name or "wei" in name]
