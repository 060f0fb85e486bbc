"""The service's state as shown over HTTP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ServiceSnapshot:
    """The service's state at one time, as plain values.

    Attributes
    ----------
    phase
        The current activity, for people: ``"waiting"``, ``"collecting"``, ``"sealing"``, ...
    round_id
        The current round, 0 before the first.
    online
        Addresses of bonded contributors whose nodes are connected.
    not_ready
        The reasons why the service cannot run rounds now, one line each; empty if it can.
    children
        State of each supervised process, by name.
    errors
        The last errors, newest last.
    out_of_step
        Addresses of those online whose last reply was to an earlier instruction than their last.
    """

    phase: str
    round_id: int = 0
    online: Sequence[str] = ()
    not_ready: Sequence[str] = ()
    children: Mapping[str, str] = field(default_factory=dict)
    errors: Sequence[str] = ()
    out_of_step: Sequence[str] = ()
