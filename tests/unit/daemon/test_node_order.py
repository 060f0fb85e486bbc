"""The service tells once what the guard has seen, with the account it concerns."""

import logging
from pathlib import Path

import pytest

from coordinator.daemon.node_order import NodeOrder
from coordinator.flower.instruction_order import OrderReport


class World:
    def __init__(self, folder: Path) -> None:
        self.file = folder / "order.json"
        self.counted: list[int] = []
        self.shown: list[str] = []
        self.order = NodeOrder(
            self.file, lambda: {7: "0xseven", 8: "0xeight"}, self.counted.append, self.show
        )

    def show(self, accounts) -> None:
        self.shown = list(accounts)

    def step(self, late: dict[int, int], behind: set[int]) -> None:
        OrderReport(late, frozenset(behind)).write(self.file)
        self.order.step()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_it_counts_shows_and_logs_what_is_new(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    world.order.step()  # the SuperLink has not started yet
    world.step({7: 1}, {7})
    world.step({7: 1}, {7})
    world.step({7: 3}, set())
    assert (world.counted, world.shown) == ([1, 2], [])
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert all("answers an earlier instruction" in one.message for one in caplog.records)


def test_who_is_behind_and_connected_is_shown(world: World) -> None:
    world.step({7: 1, 8: 1, 9: 1}, {7, 9})
    assert world.shown == ["0xseven"]


def test_the_superlinks_next_life_counts_from_nothing(world: World) -> None:
    world.step({7: 5}, {7})
    world.step({}, set())
    world.step({7: 2}, {7})
    assert world.counted == [5, 2]
    world.step({7: 1}, {7})  # it was started again between two looks
    assert world.counted == [5, 2, 1]
