"""Attacks that succeed today, each a test that the attacker fails (``known_weakness``).

Where there is one, a control beside it shows the same attack caught, so that it is known to be
played right. They take minutes: ``make attacks``.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fraud_bench import FraudBench, experiment, fraud_bench


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Callable[..., FraudBench]]:
    """Return a maker of benches on the embedded chain."""
    with ExitStack() as stack:

        def make(*attacks: dict, **sections: dict) -> FraudBench:
            return stack.enter_context(fraud_bench(experiment(*attacks, **sections), tmp_path))

        yield make
