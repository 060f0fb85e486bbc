"""A SuperNode that is one reply behind is noticed, by its log and what it hands to us."""

from pathlib import Path

import pytest

from clients.daemon.deliveries import Deliveries

A, B, C = "a" * 64, "b" * 64, "c" * 64
INFO = "\x1b[92mINFO \x1b[0m:      "


class World:
    """A SuperNode's log, and who follows it."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "supernode.log"
        self.log.write_text(f"{INFO}Run ID 1 is not in `RUNNING` status. Ignoring message {C}.\n")
        self.deliveries = Deliveries(self.log)

    def write(self, *lines: str) -> None:
        with self.log.open("a") as file:
            file.writelines(f"{INFO}{line}\n" for line in lines)

    def receives(self, message: str) -> None:
        self.write(f"Receiving: train message (ID: {message})", "Received successfully")

    def sends(self) -> None:
        self.write(f"Sending: train message (ID: {'d' * 64})", "Sent successfully")

    @property
    def problem(self) -> str:
        return self.deliveries.problem()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_one_after_the_other_is_in_order(world: World) -> None:
    for message in (A, B, C):
        world.receives(message)
        world.deliveries.handed(message)
        world.deliveries.handed(message)  # its program asks again where the daemon was away
        world.sends()
        assert world.problem == ""


def test_an_instruction_that_was_given_up(world: World) -> None:
    world.receives(A)
    world.deliveries.handed(A)
    world.write(f"Run ID 7 is not in `RUNNING` status. Ignoring message {A}.")
    assert world.problem == f"it gave up instruction {A[:16]} of a run that is over"


def test_a_reply_that_was_given_up_is_in_order(world: World) -> None:
    world.receives(A)
    world.deliveries.handed(A)
    world.sends()
    world.write(f"Run ID 7 is not in `RUNNING` status. Ignoring reply message {B}.")
    assert world.problem == ""


def test_an_instruction_that_comes_after_a_reply_was_sent_for_it(world: World) -> None:
    world.receives(A)
    world.sends()  # what an instruction before had left
    assert world.problem == ""
    world.deliveries.handed(A)
    assert "sent the reply to an earlier instruction" in world.problem


def test_an_instruction_that_comes_after_the_next_was_received(world: World) -> None:
    world.receives(A)
    world.receives(B)
    world.deliveries.handed(A)
    assert "received another instruction before" in world.problem


def test_an_instruction_that_the_log_does_not_know_says_nothing(world: World) -> None:
    world.receives(A)
    world.sends()
    world.deliveries.handed(B)
    assert world.problem == ""


def test_another_supernode_begins_anew(world: World) -> None:
    for begin in (world.deliveries.begin, lambda: world.write("Starting Flower SuperNode")):
        world.receives(A)
        world.sends()
        begin()
        world.deliveries.handed(A)
        assert world.problem == ""
        world.receives(B)
        world.sends()
        world.deliveries.handed(B)
        assert world.problem
        begin()
        assert world.problem == ""


def test_lines_that_come_in_pieces_and_a_log_that_is_emptied(world: World) -> None:
    line = f"{INFO}Receiving: train message (ID: {A})\n"
    for piece in (line[:30], line[30:60], line[60:]):
        with world.log.open("a") as file:
            file.write(piece)
        assert world.problem == ""
    world.log.write_text("")
    world.sends()
    world.deliveries.handed(A)
    assert world.problem


def test_a_log_that_is_not_there_is_looked_at_again(tmp_path: Path) -> None:
    deliveries = Deliveries(tmp_path / "supernode.log")
    assert deliveries.problem() == ""
    (tmp_path / "supernode.log").write_text(
        f"Run ID 7 is not in `RUNNING` status. Ignoring message {A}.\n"
    )
    assert deliveries.problem()
