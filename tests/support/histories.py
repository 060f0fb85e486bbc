"""How long random tests run: some hundreds of calls, or with ``FEDPROOF_FUZZ=1`` many more.

With it, each stateful machine runs 375 histories of 500 calls, on revm, in eight shards for
pytest-xdist, and each property 10,000 examples. The machines' seeds are fixed; ``FEDPROOF_SEED``
selects others.
"""

import os
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, settings, stateful
from hypothesis.internal.conjecture import engine
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

FUZZ = os.environ.get("FEDPROOF_FUZZ") == "1"
SEED = int(os.environ.get("FEDPROOF_SEED", "0"))
SHARDS = 8 if FUZZ else 1
HISTORIES, CALLS = (375, 500) if FUZZ else (40, 150)
EMBEDDED_HISTORIES, EMBEDDED_CALLS = 2, 30


def share(shard: int) -> int:
    """How many histories a shard runs."""
    return HISTORIES // SHARDS + (shard < HISTORIES % SHARDS)


def examples(usual: int) -> int:
    """How many examples a property is tried on."""
    return 10_000 if FUZZ else usual


def run_histories(
    machine: type[RuleBasedStateMachine], shard: int | None = None, *, steps: int = CALLS
) -> None:
    """Run one shard on revm; without a shard, a few histories on the embedded chain."""
    histories = EMBEDDED_HISTORIES
    if shard is None:
        steps = EMBEDDED_CALLS
    else:
        histories = share(shard)
        machine._hypothesis_internal_use_seed = 1_000 * SEED + shard  # type: ignore[attr-defined]
    plan: dict[str, Any] = {
        "max_examples": histories,
        "stateful_step_count": steps,
        "derandomize": shard is None,
        "phases": [Phase.generate, Phase.shrink],
    }
    # 500 calls draw more than Hypothesis lets one example draw, which would cut histories short.
    limits = (f"{module}.BUFFER_SIZE" for module in (engine.__name__, stateful.__name__))
    with ExitStack() as patched:
        for limit in limits:
            patched.enter_context(patch(limit, 10**6))
        run_state_machine_as_test(
            machine,
            settings=settings(
                **plan,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            ),
        )
