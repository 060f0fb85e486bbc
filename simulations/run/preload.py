"""Imported once by the fork server: everything that a simulated contributor's first round loads.

Compiled kernels are read from their cache on first use, and torch imports more on first use. Both
are done here, before the workers are forked, so that no worker repeats it (ADR 62). Starts no
threads, since a fork does not copy them.
"""

import numpy as np
import torch

import simulations.run.client_app  # noqa: F401
from clients.training.trainer import load_optimizers
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.numbers.fixed_point import dequantise, quantise, subtract
from coordinator.protocol.numbers.manifest import Manifest


def warm_up() -> bytes:
    """Run the signing mod's computations on one tiny model; return its root."""
    torch.set_num_threads(1)
    load_optimizers()
    fresh = {"w": np.zeros(300, np.float32)}
    received = {"w": np.frombuffer(bytes(1200), np.float32)}  # read-only, as from the wire
    manifest = Manifest.of(fresh)
    base = quantise(fresh, manifest)
    dequantise(base, manifest)
    update = subtract(quantise(received, manifest), base)
    return parameter_root(update, manifest, threads=1)


warm_up()
