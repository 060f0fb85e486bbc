"""One feed of round events, for all that show, count or log them (ADR 137).

Simulation and service publish the same items. A subscriber is called in the publisher's thread,
in the order of subscription, after the round's state has changed; its exceptions propagate to the
publisher. Not handled: keeping items, or sending them to other processes.
"""

from collections.abc import Callable
from dataclasses import dataclass

from coordinator.protocol.round.events import Event
from coordinator.protocol.types import RoundId


@dataclass(frozen=True, slots=True)
class FeedItem:
    """One event of one round."""

    round_id: RoundId
    event: Event


Subscriber = Callable[[FeedItem], None]


class RoundFeed:
    """Passes every item on to all subscribers."""

    def __init__(self) -> None:
        self._subscribers: list[Subscriber] = []

    def subscribe(self, subscriber: Subscriber) -> None:
        """Call ``subscriber`` with every item published from now on."""
        self._subscribers.append(subscriber)

    def publish(self, round_id: RoundId, event: Event) -> None:
        """Pass an event of a round to all subscribers."""
        item = FeedItem(round_id, event)
        for subscriber in self._subscribers:
            subscriber(item)
