import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))

from federation_world import World


@pytest.fixture(scope="session")
def _deployed() -> Iterator[World]:
    world = World.create().populate()
    yield world
    world.node.close()


@pytest.fixture
def world(_deployed: World) -> Iterator[World]:
    """A federation with bonded members, a bonded coordinator and a funded pool, as new."""
    snapshot = _deployed.node.snapshot()
    _deployed.forget()
    yield _deployed
    _deployed.node.revert(snapshot)
