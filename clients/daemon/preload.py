"""Loads compiled kernels before the first round, so that it is not slower than the others."""

import numpy as np

from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.numbers.fixed_point import dequantise, quantise_into, subtract
from coordinator.protocol.numbers.manifest import Manifest


def load_kernels(manifest: Manifest) -> None:
    """Run all of a round's operations on a model once, on zeros."""
    vector = np.zeros(manifest.dimension, np.int32)
    trained = quantise_into(dequantise(vector, manifest), manifest, np.empty_like(vector))
    parameter_root(subtract(trained, vector, out=trained), manifest, threads=1)
