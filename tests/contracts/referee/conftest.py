from collections.abc import Iterator

import pytest
from dispute_world import DisputeWorld


@pytest.fixture(scope="session")
def _court() -> Iterator[DisputeWorld]:
    world = DisputeWorld.create()
    yield world
    world.node.close()


@pytest.fixture
def court(_court: DisputeWorld) -> Iterator[DisputeWorld]:
    """A federation with members, a coordinator and a referee, and no round yet."""
    snapshot = _court.node.snapshot()
    _court.forget()
    yield _court
    _court.node.revert(snapshot)
