import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))

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
