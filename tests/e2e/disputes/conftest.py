import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fraud_bench import FraudBench, experiment, find_anvil, fraud_bench, running_anvil


@pytest.fixture(params=["embedded", "anvil"])
def make_bench(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[..., FraudBench]]:
    """Return a maker of benches with given attacks, on the embedded chain and on anvil."""
    with ExitStack() as stack:
        url = ""
        if request.param == "anvil":
            url = stack.enter_context(running_anvil(_anvil()))

        def make(*attacks: dict, **sections: dict) -> FraudBench:
            used = experiment(*attacks, **sections)
            return stack.enter_context(fraud_bench(used, tmp_path / "run", url))

        yield make


def _anvil() -> str:
    binary = find_anvil()
    if binary is None:
        if os.environ.get("FEDPROOF_REQUIRE_ANVIL") == "1":
            pytest.fail("FEDPROOF_REQUIRE_ANVIL=1, but there is no anvil; run npm ci")
        pytest.skip("no anvil: run npm ci, or set FEDPROOF_ANVIL")
    return binary
