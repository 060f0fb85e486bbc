"""A process that stood still knows it, and for how long."""

from clients.daemon.suspend_detector import SuspendDetector, since_boot


def test_only_a_long_gap_is_told_and_only_once() -> None:
    now = [100.0]
    found = SuspendDetector(30.0, lambda: now[0])
    for step in (1.0, 5.0, 30.0):
        now[0] += step
        found.look()
    assert found.take() == 0.0
    now[0] += 62.0
    found.look()
    now[0] += 31.0
    found.look()
    assert found.take() == 62.0
    assert found.take() == 0.0


def test_its_clock_goes_on() -> None:
    assert 0 < since_boot() <= since_boot()
