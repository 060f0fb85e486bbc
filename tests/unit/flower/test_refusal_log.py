"""Refusals are said with a reason, and never in floods."""

import logging

import pytest

from coordinator.flower.guard import QUIET_S, RefusalLog


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_each_reason_of_a_peer_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    refusal_log = RefusalLog(clock)
    with caplog.at_level(logging.WARNING):
        for _ in range(1_000):
            refusal_log.refused("10.0.0.9", b"", "/v1/fleet/pull-messages", "not registered")
        refusal_log.refused("10.0.0.9", b"key", "/v1/fleet/push-object", "more than 9 bytes")
        clock.now = QUIET_S
        refusal_log.refused("10.0.0.9", b"", "/v1/fleet/pull-messages", "not registered")
    assert [record.message for record in caplog.records] == [
        "refused pull-messages of 10.0.0.9 (no key): not registered",
        "refused push-object of 10.0.0.9 (key 2c70e12b7a0646f9): more than 9 bytes",
        "refused pull-messages of 10.0.0.9 (no key): not registered",
    ]


def test_a_peer_that_changes_its_address_fills_no_disk(caplog: pytest.LogCaptureFixture) -> None:
    refusal_log = RefusalLog(Clock())
    with caplog.at_level(logging.WARNING):
        for number in range(10_000):
            refusal_log.refused(f"2001:db8::{number:x}", b"", "/v1/fleet/x", "not registered")
    assert len(caplog.records) == 256
