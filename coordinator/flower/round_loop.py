"""The ServerApp's loop: find the connected nodes, open a round, train, collect, close, repeat.

The loop decides nothing: at every heartbeat the service says what to do, and it takes every reply.
An error (a full disk, an unavailable chain node) ends an attempt, never the loop: the service opens
the same round again, or the next.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

# isort: split
from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp import Grid

from coordinator.flower.driver_client import DriverClient
from coordinator.flower.evaluation import evaluate_model
from coordinator.flower.fetching import fetcher_for, reconnections_of
from coordinator.flower.metrics import weighted_means
from coordinator.flower.presence_queries import PresenceQueries
from coordinator.flower.records import ModelLayout, agreed_layout
from coordinator.flower.sampling import NodeSampling
from coordinator.flower.strategy import PhaseSettings, RoundPhases
from coordinator.flower.streaming_grid import StreamingGrid
from coordinator.local.frames import ChannelError
from coordinator.ports import RoundOutcome
from coordinator.protocol import wire
from coordinator.protocol.errors import FedproofError, PhaseError
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.types import JsonObject, RoundId
from coordinator.settings.agreement import AgreedBuffer

_EAGER_S: Final = 0.2
_LONGEST_REST_S: Final = 10.0
_PAUSES_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses between failed attempts, each of which costs gas for voiding a round."""
_COMMITTING: Final = 0.7
"""Share of a sealed round's time for commitments; it includes training."""
_NO_EVALUATION: Final = NodeSampling("evaluate", 0.0, 0, 0, 0.0, 0)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """The loop's settings, sent once by the service.

    ``presence_s`` are the seconds between two heartbeats while waiting, ``pause_s`` those between
    two rounds; ``examples_cap`` limits a contributor's weight in averaged metrics.
    ``evaluation_s`` is how long participants may take to evaluate a model, 0 where the federation
    agreed on no evaluation. ``buffers`` are the agreed model's integer buffers.
    """

    manifest: Manifest
    presence_s: float
    pause_s: float
    examples_cap: int
    evaluation_s: float = 0.0
    buffers: Sequence[AgreedBuffer] = ()

    @property
    def layout(self) -> ModelLayout:
        """The agreed model's layout."""
        return agreed_layout(self.manifest, self.buffers)

    @classmethod
    def from_hello(cls, hello: JsonObject) -> "LoopSettings":
        """Return the settings that :meth:`as_hello` encoded."""
        manifest = Manifest.from_json(str(hello["manifest"]).encode("ascii"))
        return cls(
            manifest,
            float(hello["presence_s"]),
            float(hello["pause_s"]),
            int(hello["examples_cap"]),
            float(hello["evaluation_s"]),
            [AgreedBuffer.model_validate(buffer) for buffer in hello["buffers"]],
        )

    def as_hello(self) -> JsonObject:
        """Return the settings as JSON."""
        return {
            "manifest": self.manifest.to_json().decode("ascii"),
            "presence_s": self.presence_s,
            "pause_s": self.pause_s,
            "examples_cap": self.examples_cap,
            "evaluation_s": self.evaluation_s,
            "buffers": [buffer.model_dump(mode="json") for buffer in self.buffers],
        }


class RoundLoop:
    """Runs rounds until the service says that they are complete.

    Parameters
    ----------
    driver
        The connection to the service.
    grid
        Flower's; its nodes are untrusted, and may not answer.
    """

    def __init__(self, driver: DriverClient, grid: Grid) -> None:
        self._driver = driver
        self._settings = LoopSettings.from_hello(driver.hello)
        self._inner = grid
        fetcher = fetcher_for(grid)
        self._missing = 0
        self._reconnections, self._activated = reconnections_of(grid), dict[int, str]()
        self._grid = StreamingGrid(
            grid,
            self._seconds_left,
            fetcher,
            lambda: self._missing == 0,
            self._life_of,
        )
        self._cohort: list[int] = []
        self._presence_queries = PresenceQueries(driver, grid, fetcher, self._grid.give_up)
        self._failures = 0
        self._not_before = 0.0
        # At first too: an earlier life may have ended between a round and its evaluation.
        self._may_evaluate = self._settings.evaluation_s > 0
        self._evaluated_by: float | None = None

    def run(self) -> None:
        """Run rounds.

        Raises
        ------
        ChannelError
            If the service has ended.
        PhaseError
            If another ServerApp drives now.
        """
        while True:
            beat = self._driver.beat(self._nodes())
            if beat["complete"]:
                return
            self._presence_queries.ask(beat["strangers"])
            self._presence_queries.take()
            self._grid.drop_late()
            if beat["cohort"] and time.monotonic() >= self._not_before:
                self._cohort = list(beat["cohort"])
                if self._may_evaluate:
                    self._evaluate()
                self._attempt()
            else:
                time.sleep(self._rest_s())

    def _attempt(self) -> None:
        """Run one round; after failed rounds the next one waits longer each time."""
        try:
            if self._round() == "sealed":
                self._failures = 0
                self._not_before = time.monotonic() + self._settings.pause_s
                if self._settings.evaluation_s:
                    self._evaluate()
                return
        except (ChannelError, PhaseError):
            raise
        except FedproofError as error:
            _log.warning("the round was interrupted, trying again: %s", error)
        pause_s = _PAUSES_S[min(self._failures, len(_PAUSES_S) - 1)]
        self._failures += 1
        self._not_before = time.monotonic() + pause_s

    def _evaluate(self) -> None:
        """Have the last sealed round's model evaluated, if the service says that it is due."""
        self._may_evaluate = False
        patience_s = self._settings.evaluation_s
        self._evaluated_by = time.monotonic() + patience_s
        self._missing = 0  # nobody is asked again
        try:
            evaluate_model(self._driver, self._grid, self._settings.layout, patience_s)
        except (ChannelError, PhaseError):
            raise
        except FedproofError as error:
            _log.warning("the model was not evaluated: %s", error)
        finally:
            self._evaluated_by = None

    def _rest_s(self) -> float:
        """Return the seconds until the next heartbeat, short enough to keep the lease."""
        if self._presence_queries.waiting:
            return _EAGER_S
        pause_s = self._not_before - time.monotonic()
        wait_s = min(self._settings.presence_s, _LONGEST_REST_S)
        return max(_EAGER_S, min(pause_s, wait_s)) if pause_s > 0 else wait_s

    def _round(self) -> str:
        outcome = self._phases().play(self._grid, self._seconds_left)
        _log.info(
            "round %d is %s: %d accepted, %d refused",
            outcome.round_id,
            outcome.status,
            len(outcome.accepted),
            len(outcome.refusals),
        )
        return outcome.status

    def _phases(self) -> "ServicePhases":
        sampling = NodeSampling("train", 1.0, 0, 0, 0.0, 0, self._pick)
        metrics = weighted_means(self._settings.examples_cap)
        settings = PhaseSettings(
            train_sampling=sampling,
            evaluate_sampling=_NO_EVALUATION,
            arrayrecord_key="arrays",
            configrecord_key="config",
            weighted_by_key=wire.EXAMPLES_METRIC,
            train_metrics_aggr_fn=metrics,
            evaluate_metrics_aggr_fn=metrics,
            round_config=lambda announced: {wire.SERVER_ROUND: announced.round_id},
        )
        return ServicePhases(self._driver, settings, self._settings)

    def _pick(self, _round_id: RoundId, _nodes: Sequence[int]) -> Sequence[int]:
        return self._cohort

    def _nodes(self) -> list[int]:
        """Return the connected nodes, and note when each of them connected."""
        activated = {node.node_id: node.last_activated_at for node in self._inner.get_nodes()}
        away = {n: since for n, since in self._activated.items() if n in self._cohort}
        self._activated = away | activated
        return sorted(activated)

    def _life_of(self, node: int) -> tuple[int, str]:
        return self._reconnections(), self._activated.get(node, "")

    def _seconds_left(self) -> float:
        beat = self._driver.beat(self._nodes())
        # A node that connects now takes part in the next round.
        self._presence_queries.ask(beat["strangers"])
        self._presence_queries.take()
        if self._evaluated_by is not None:
            return max(0.0, self._evaluated_by - time.monotonic())
        self._missing = int(beat["missing"])
        return float(beat["seconds_left"])


class ServicePhases(RoundPhases):
    """Round phases whose model layout is the agreed one, not an application's."""

    def __init__(self, service: DriverClient, settings: PhaseSettings, loop: LoopSettings) -> None:
        super().__init__(service, settings)
        self._layout = loop.layout

    def play(self, grid: Grid, seconds_left: Callable[[], float]) -> RoundOutcome:
        """Open a round, collect the replies, and close it; return its outcome.

        In a sealed round most of the time is for the commitments: what remains is for uploading
        updates that are already trained.
        """
        messages = list(self.configure_train(0, ArrayRecord(), ConfigRecord(), grid))
        announced = self._require_announcement()
        if announced.sealed:
            queries = [] if announced.commitments is not None else messages
            patience_s = _COMMITTING * seconds_left()
            messages = self.configure_reveal(grid.send_and_receive(queries, timeout=patience_s))
        self.aggregate_train(0, grid.send_and_receive(messages))
        return self._require_outcome()

    def summary(self) -> None:
        """Log how rounds are run."""
        _log.info("the service runs the rounds; the cohort is every contributor online")

    def _current_arrays(self) -> ArrayRecord:
        return ArrayRecord()  # there is no evaluation, so the model is not converted to tensors
