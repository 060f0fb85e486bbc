"""Samples the nodes of a round's phase: the same seed, round and nodes give the same cohort."""

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# isort: split
from flwr.serverapp import Grid

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.types import RoundId

_log = logging.getLogger(__name__)

Sampler = Callable[[RoundId, Sequence[int]], Sequence[int]]
_POLL_NODES_S = 1.0


@dataclass(frozen=True)
class NodeSampling:
    """How one phase samples nodes.

    Attributes
    ----------
    fraction, minimum
        Share of the connected nodes to sample; at least ``minimum`` nodes, at most all.
    min_available, wait_s
        How many nodes to wait for, and how many seconds; then the phase goes on with the connected
        ones, and the rule decides whether they are enough.
    """

    phase: str
    fraction: float
    minimum: int
    min_available: int
    wait_s: float
    seed: int
    sampler: Sampler | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.fraction <= 1.0:
            raise ConfigError(f"fraction_{self.phase} is {self.fraction}, expected 0 to 1")

    def sample(self, grid: Grid, round_id: RoundId) -> list[int]:
        """Return the nodes of the phase."""
        nodes = self._wait_for_nodes(grid)
        if self.sampler is not None:
            return list(self.sampler(round_id, nodes))
        size = min(len(nodes), max(int(len(nodes) * self.fraction), self.minimum))
        chance = random.Random(f"{self.seed}/{round_id}/{self.phase}")
        return sorted(chance.sample(nodes, size))

    def _wait_for_nodes(self, grid: Grid) -> list[int]:
        needed = max(self.minimum, self.min_available)
        end = time.monotonic() + self.wait_s
        while len(nodes := sorted(grid.get_node_ids())) < needed:
            left = end - time.monotonic()
            if left <= 0:
                _log.warning(
                    "%s: %d of %d nodes are connected; going on", self.phase, len(nodes), needed
                )
                break
            time.sleep(min(_POLL_NODES_S, left))
        return nodes
