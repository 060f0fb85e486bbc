"""The layout of an application's tensors, compared with what the federation agreed on."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord

from coordinator.flower.records import ModelLayout
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.numbers.manifest import Manifest

ARRAYS = {
    "norm.weight": np.ones(2, np.float32),
    "norm.running_var": np.full(2, 3e6, np.float32),
    "norm.num_batches_tracked": np.array(0),
}


def test_scales_of_their_own_are_the_agreements() -> None:
    layout = ModelLayout.of(ArrayRecord({name: Array(a) for name, a in ARRAYS.items()}))
    agreed = Manifest.of(ARRAYS, scales={"norm.running_var": 6})
    layout.require_manifest(agreed)
    assert layout.manifest(scales=agreed.scales) == agreed
    with pytest.raises(ConfigError, match="the federation agreed on 2 with 4"):
        layout.require_manifest(Manifest.of({**ARRAYS, "norm.weight": np.ones(2)}))
