"""Events are counted once, and durations fall into the right bucket."""

from http_asking import samples

from coordinator.http.metrics import BUCKETS_S, Telemetry, metrics_page
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
    assert told.rounds == {"sealed": 1}
    took = told.durations
    assert dict(zip(BUCKETS_S, took.within, strict=True)) == {
        1.0: 0, 5.0: 0, 15.0: 1, 30.0: 1, 60.0: 1, 300.0: 1, 900.0: 1, 3_600.0: 1,
    }  # fmt: skip
    assert (took.count, took.sum_s, took.last_s) == (1, 7.5, 7.5)


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
    assert told.rounds == {"sealed": 3, "void": 1}
    assert told.durations.within == (0, 1, 1, 1, 1, 1, 1, 1)
    assert told.durations.count == 2


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
    assert told.rpc == {
        ("call", "ok"): 1,
        ("call", "refused"): 1,
        ("read", "ok"): 1,
        ("send", "ok"): 1,
        ("logs", "ok"): 1,
        ("unknown", "refused"): 2,
    }


def test_without_a_chain_its_metrics_are_absent_and_nothing_is_ready() -> None:
    children = {"superlink": "running (pid 7)", "superexec": "restarting in 2 s"}
    snapshot = ServiceSnapshot("waiting", 4, ("0xa", "0xb"), (), children)
    told = Telemetry()
    told.count_request("blobs", 200, 1234)
    found = samples(metrics_page(snapshot, None, told, 1_800_000_000.0))
    assert found["fedproof_ready"] == 0
    assert found["fedproof_round"] == 4
    assert found["fedproof_contributors_online"] == 2
    assert found['fedproof_child_up{child="superlink"}'] == 1
    assert found['fedproof_child_up{child="superexec"}'] == 0
    assert found['fedproof_http_requests_total{route="blobs",status="200"}'] == 1
    assert found['fedproof_http_sent_bytes_total{route="blobs"}'] == 1234
    assert found["fedproof_certificate_end_seconds"] == 1.8e9
    assert found["process_resident_memory_bytes"] > 1e6
    assert not [name for name in found if "chain" in name or "wei" in name]
