"""One feed of what happens to rounds, for all that show, count, log or record it (ADR 137, 148).

Simulation and service publish the same items. A subscriber is called in the publisher's thread,
in the order of subscription, after the round's state has changed; its exceptions propagate to the
publisher. Not handled: keeping items, or sending them to other processes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from coordinator.protocol.round.events import Event
from coordinator.protocol.types import RoundId


class Observation:
    """What is known of a round besides the events of its machine: a base class for its kinds."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class RoundEvaluated(Observation):
    """The model of a decided round was evaluated.

    ``metrics`` has a value by name; ``None`` where one could not be had. Nothing of it is on chain.
    """

    metrics: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class FeedItem:
    """One event of one round, or an observation of it."""

    round_id: RoundId
    event: Event | Observation


Subscriber = Callable[[FeedItem], None]


class RoundFeed:
    """Passes every item on to all subscribers."""

    def __init__(self) -> None:
        self._subscribers: list[Subscriber] = []

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call ``subscriber`` with every item published from now on."""
        self._subscribers.append(subscriber)

    def publish(self, round_id: RoundId, event: Event | Observation) -> None:
        """Pass an event of a round, or an observation, to all subscribers."""
        item = FeedItem(round_id, event)
        for subscriber in self._subscribers:
            subscriber(item)
