"""Gas of every contract call, and of a round with 5, 50, 500 and 5,000 contributors: constant.

Deterministic for the committed bytecode (``docs/gas.md`` has the same numbers and is checked by a
test); no times are measured.
"""

from typing import Any

from benchmarks.gas import SIZES, measure_calls, measure_round


def run() -> list[dict[str, Any]]:
    """Return a row per call; a round's calls at each number of contributors."""
    rounds = {size: measure_round(size) for size in SIZES}
    rows: list[dict[str, Any]] = [
        {"call": call} | {f"n = {size:,}": rounds[size][call] for size in SIZES}
        for call in rounds[SIZES[0]]
    ]
    return rows + [{"call": call, "any n": gas} for call, gas in measure_calls().items()]
