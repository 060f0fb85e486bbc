"""A SuperNode that is alive and deaf is noticed; one that has nothing to say is left alone."""

from clients.daemon.watchdog import SLOW, Watchdog
from coordinator.protocol.types import RoundId

PATIENCE_S = 45.0


class World:
    """A watchdog, a clock, and a SuperNode that was started at 0."""

    def __init__(self) -> None:
        self.now = 0.0
        self.dog = Watchdog(PATIENCE_S, lambda: self.now)

    def at(
        self,
        now: float,
        *,
        open_round: int,
        uptime_s: float | None = None,
        carrying: bool = False,
    ) -> bool:
        self.now = now
        uptime_s = now if uptime_s is None else uptime_s
        return self.dog.is_stuck(RoundId(open_round), uptime_s, lambda: carrying)

    def heard(self, now: float) -> None:
        self.now = now
        self.dog.heard()


def test_asked_before_and_not_in_the_round_that_is_open() -> None:
    world = World()
    assert not world.at(10, open_round=1)
    world.heard(20)
    assert not world.at(90, open_round=1)
    assert not world.at(100, open_round=2)
    assert not world.at(100 + PATIENCE_S - 1, open_round=2)
    assert world.at(100 + PATIENCE_S, open_round=2)
    assert not world.at(300, open_round=2), "once a round"
    assert not world.at(301, open_round=3)
    assert world.at(301 + PATIENCE_S, open_round=3)


def test_nothing_is_open() -> None:
    world = World()
    world.heard(1)
    assert not world.at(2, open_round=0)
    assert not world.at(10_000, open_round=0)


def test_asked_in_time() -> None:
    world = World()
    world.heard(1)
    assert not world.at(5, open_round=1)
    world.heard(40)
    assert not world.at(10_000, open_round=1)


def test_a_newcomer_is_not_asked_in_a_round_that_is_under_way() -> None:
    world = World()
    assert not world.at(5, open_round=7)
    assert not world.at(500, open_round=7), "never asked anything: not admitted, perhaps"


def test_asked_only_before_it_was_started_again() -> None:
    world = World()
    world.heard(1)
    assert not world.at(100, open_round=2)
    assert not world.at(200, open_round=2, uptime_s=150.0)


def test_a_message_that_is_on_its_way_is_waited_for_on_a_busy_machine() -> None:
    world = World()
    world.heard(1)
    assert not world.at(100, open_round=2)
    assert not world.at(100 + PATIENCE_S, open_round=2, carrying=True)
    assert not world.at(100 + SLOW * PATIENCE_S - 1, open_round=2, carrying=True)
    assert world.at(100 + SLOW * PATIENCE_S - 1, open_round=2)


def test_a_program_that_hangs_is_not_waited_for_for_ever() -> None:
    world = World()
    world.heard(1)
    assert not world.at(100, open_round=2)
    assert world.at(100 + SLOW * PATIENCE_S, open_round=2, carrying=True)
