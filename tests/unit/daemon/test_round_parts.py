"""A coordinator does not start with a rule or a score whose code cannot be right."""

import threading
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from coordinator.daemon.round_parts import RoundParts
from coordinator.protocol.errors import OutsideCodeError
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.rules.chosen import choose
from coordinator.protocol.types import DefinedRule

MODULE = """
import numpy as np
from fedproof import AggregationRule, ScoringRule
HALVES = AggregationRule(
    number=1, name="halves", aggregate=lambda given: given.updates[0] / 2, fewest=lambda f: 1,
    bound="f = 0", withstands_byzantine=False,
)
LARGEST = AggregationRule(
    number=1, name="largest", aggregate=lambda given: np.max(given.updates, axis=0),
    fewest=lambda f: 1, bound="f = 0", withstands_byzantine=False,
)
ONE = ScoringRule(name="one", score=lambda given: [1])
"""
MANIFEST = Manifest.of({"w": np.zeros(10, np.float32)})


@pytest.mark.parametrize(
    ("rule", "score", "says"),
    [
        ("HALVES", "examples", "aggregator.kind: aggregate of rule {module}:HALVES has dtype <f8"),
        (
            "LARGEST",
            "{module}:ONE",
            "scoring.kind: score {module}:ONE returned 1 scores for 3 contr",
        ),
    ],
)
def test_refused_before_anything_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str, score: str, says: str
) -> None:
    module = "round_parts_rules"
    (tmp_path / f"{module}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    mine = choose(f"{module}:{rule}", {})
    agreed = DefinedRule(
        version=1,
        kind=mine.kind,
        weighting=2,
        num_byzantine=0,
        examples_cap=100,
        server_lr_q16=65536,
        server_momentum_q16=0,
        manifest_hash=MANIFEST.digest(),
        dimension=10,
        chunk_values=256,
        scale_bits=20,
        min_contributors=2,
        norm_bound_q=0,
        scoring_hash=bytes(32),
        definition=mine.definition,
    )
    scoring = {"kind": score.format(module=module)}
    agreement = SimpleNamespace(core_rule=agreed, scoring=scoring)
    plan = SimpleNamespace(agreement=agreement, state=tmp_path / "state")
    with ExitStack() as stack, pytest.raises(OutsideCodeError) as refused:
        RoundParts(plan, None, stack, threading.Event(), threading.RLock(), ())  # type: ignore[arg-type]
    assert str(refused.value).startswith(says.format(module=module))
    assert not (tmp_path / "state").exists()
