"""Gas of every contract call, and of a round at 5, 50, 500 and 5,000 contributors: flat.

Deterministic for the committed bytecode (``docs/gas.md`` has the same numbers and is checked by a
test), so this is no timing.
"""

from typing import Any

from benchmarks.gas import SIZES, measure_calls, measure_round


def run() -> list[dict[str, Any]]:
    """Return a row a call; a round's calls at each number of contributors."""
    rounds = {size: measure_round(size) for size in SIZES}
    rows: list[dict[str, Any]] = [
        {"call": call} | {f"n = {size:,}": rounds[size][call] for size in SIZES}
        for call in rounds[SIZES[0]]
    ]
    return rows + [{"call": call, "any n": gas} for call, gas in measure_calls().items()]
