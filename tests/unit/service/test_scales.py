"""Scales of tensors of their own, from ``[numbers]`` to the manifest that is agreed on."""

import numpy as np
import pytest

from coordinator.protocol.errors import ConfigError
from coordinator.service.agreement import agreed_model, agreed_rule
from coordinator.settings.rules import aggregator_section
from coordinator.settings.terms import Numbers

ARRAYS = {
    "norm.weight": np.ones(2, np.float32),
    "norm.running_mean": np.zeros(2, np.float32),
    "norm.running_var": np.full(2, 3000.0, np.float32),
    "norm.num_batches_tracked": np.array(0),
}
STATISTICS = ["norm.running_mean", "norm.running_var"]


def scales(numbers: Numbers, statistics: list[str] = STATISTICS) -> dict[str, int]:
    return agreed_model(ARRAYS, numbers, statistics).manifest.scales


def test_statistics_reach_32768_unless_something_else_is_said() -> None:
    assert scales(Numbers()) == {"norm.running_mean": 16, "norm.running_var": 16}
    model = agreed_model(ARRAYS, Numbers(), STATISTICS)
    assert model.vector.tolist() == [1 << 20] * 2 + [0] * 2 + [3000 << 16] * 2
    assert scales(Numbers(scale_bits=12)) == {}  # all have as few


def test_patterns_give_scales_and_the_later_one_counts() -> None:
    numbers = Numbers(scales={"norm.*": 18, "*.running_var": 4, "norm.running_mean": 20})
    assert scales(numbers) == {"norm.weight": 18, "norm.running_var": 4}
    assert scales(Numbers(scales={"*_var": 9}), []) == {"norm.running_var": 9}


def test_a_pattern_that_fits_nothing_is_refused() -> None:
    for pattern in ("*.running_va", "norm.num_batches_tracked", "running_var"):
        with pytest.raises(ConfigError, match="fits no tensor; expected a name, or a pattern like"):
            scales(Numbers(scales={pattern: 9}))


def test_numbers_without_scales_are_written_as_before() -> None:
    assert Numbers().model_dump(mode="json") == {
        "scale_bits": 20,
        "chunk_values": 256,
        "norm_bound": 100.0,
    }
    assert Numbers(scales={"w": 4}).model_dump(mode="json")["scales"] == {"w": 4}


def test_a_score_that_evaluates_has_one_scale() -> None:
    model = agreed_model(ARRAYS, Numbers(), STATISTICS)
    section = aggregator_section("fedavg")
    scoring = {"kind": "leave_one_out", "architecture": {}}
    with pytest.raises(ConfigError, match=r"'norm.running_mean' has a scale of its own \(numbers"):
        agreed_rule(section, Numbers(), model.manifest, scoring, 1)
    agreed_rule(section, Numbers(), model.manifest, {"kind": "examples"}, 1)
