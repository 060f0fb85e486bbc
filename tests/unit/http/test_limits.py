"""Processor time per client: a burst, then a share, each client by itself."""

import pytest

from coordinator.http import limits as module
from coordinator.http.limits import CpuBudget

A, B = "203.0.113.1", "203.0.113.2"


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def budget(clock: Clock) -> CpuBudget:
    return CpuBudget(burst_s=10.0, share=0.25, monotonic=clock)


def test_whoever_overdraws_waits_and_nobody_else(budget: CpuBudget, clock: Clock) -> None:
    assert budget.wait_s(A) == 0
    budget.spend(A, 10.0)
    assert budget.wait_s(A) == 0  # used up, not overdrawn
    budget.spend(A, 2.0)
    assert budget.wait_s(A) == 8.0
    assert budget.wait_s(B) == 0
    clock.now += 5.0
    assert budget.wait_s(A) == 3.0
    clock.now += 3.0
    assert budget.wait_s(A) == 0


def test_it_fills_up_to_the_burst_and_no_further(budget: CpuBudget, clock: Clock) -> None:
    budget.spend(A, 1.0)
    clock.now += 10_000.0
    budget.spend(A, 11.0)
    assert budget.wait_s(A) == 4.0


def test_this_machine_is_not_counted(budget: CpuBudget) -> None:
    for client in ("127.0.0.1", "::1", "127.8.8.8"):
        budget.spend(client, 1000.0)
        assert budget.wait_s(client) == 0
    budget.spend("unknown", 11.0)
    assert budget.wait_s("unknown") == 4.0


def test_clients_that_owe_nothing_are_forgotten(
    budget: CpuBudget, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_CLIENTS", 3)
    budget.spend(A, 12.0)
    for number in range(2):
        budget.spend(f"198.51.100.{number}", 0.1)
    clock.now += 4.0
    budget.spend(B, 0.1)
    assert set(budget._accounts) == {A, B}
    assert budget.wait_s(A) == 4.0
