from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from anvil import running_anvil
from fraud_bench import FraudBench, experiment, fraud_bench


@pytest.fixture(params=["embedded", "anvil"])
def make_bench(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[..., FraudBench]]:
    """Return a maker of benches with given attacks, on the embedded chain and on anvil."""
    with ExitStack() as stack:
        url = ""
        if request.param == "anvil":
            url = stack.enter_context(running_anvil())

        def make(*attacks: dict, **sections: dict) -> FraudBench:
            used = experiment(*attacks, **sections)
            return stack.enter_context(fraud_bench(used, tmp_path / "run", url))

        yield make
