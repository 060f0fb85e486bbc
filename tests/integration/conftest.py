"""What every test with Flower's messages needs, whichever test ran first in its process."""

import pytest

from coordinator.flower.internals import identify_process


@pytest.fixture(autouse=True)
def known_to_flower():
    """Give the process the identity that Flower's ``Message()`` asks for."""
    identify_process(1)
