"""Small inputs from bug reports that once failed, or that fail still.

What fails still is a strict expected failure with the kind of error that it is: what mends it turns
the mark into an error, and takes it out.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "contracts" / "support"))

from scripted_node import ScriptedFederation, scripted_federation


@pytest.fixture
def scripted() -> Iterator[ScriptedFederation]:
    """A federation behind a node whose answers the test scripts."""
    with scripted_federation() as made:
        yield made
