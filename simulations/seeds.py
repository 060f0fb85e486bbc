"""One root seed; every component derives its own generator by name.

Our own code draws from these generators only, so no component changes the draws of another, and a
worker process draws the same values as any other would (ADR 51). User code may draw from the global
generators: before each task, a worker seeds those of ``random``, NumPy and PyTorch
(``simulations/engines/worker.py``).
"""

import hashlib

import numpy as np

Name = str | int


def _spawn_key(names: tuple[Name, ...]) -> tuple[int, ...]:
    # A length before each part keeps ("ab", "c") apart from ("a", "bc"), a tag 1 from "1".
    digest = hashlib.sha256()
    for name in names:
        part = f"{type(name).__name__}:{name}".encode()
        digest.update(len(part).to_bytes(4, "big") + part)
    return tuple(int(word) for word in np.frombuffer(digest.digest(), dtype=">u4"))


def sequence(root_seed: int, *names: Name) -> np.random.SeedSequence:
    """Return the seed sequence of one component, e.g. ``sequence(7, "training", 3, 12)``."""
    return np.random.SeedSequence(root_seed, spawn_key=_spawn_key(names))


def generator(root_seed: int, *names: Name) -> np.random.Generator:
    """Return a fresh PCG64 generator for one component.

    Parameters
    ----------
    root_seed
        The experiment's ``seed``, non-negative.
    names
        Path of the component, e.g. ``("partition",)`` or ``("training", round, client)``.
    """
    return np.random.Generator(np.random.PCG64(sequence(root_seed, *names)))


def integer_seed(root_seed: int, *names: Name) -> int:
    """Return a 63-bit seed for a library that takes an integer (``torch.Generator``)."""
    high, low = sequence(root_seed, *names).generate_state(2, np.uint32)
    return (int(high) << 32 | int(low)) & (2**63 - 1)
