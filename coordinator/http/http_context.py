"""What the HTTP server is made of: the parts of the service it shows."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from contracts.binding.reader import FederationReader
from contracts.node.rpc import Dispatcher
from coordinator.http.limits import HttpLimits
from coordinator.http.metrics import Telemetry
from coordinator.http.snapshot import ServiceSnapshot
from coordinator.settings.agreement import FederationAgreement
from coordinator.stores.disk import DiskStore


@dataclass(frozen=True)
class HttpContext:
    """The parts of one coordinator's service.

    Attributes
    ----------
    agreement
        Served as ``/federation``; decides who may read updates.
    federation
        The contract, on the embedded chain or any node.
    store
        The artifact store; only what the chain has committed to is served.
    status
        Says how the service is, at once and from any thread.
    dispatcher
        The embedded chain's JSON-RPC, served as ``/rpc``; ``None`` on an external chain.
    allowed_hosts
        Host headers accepted besides loopback's, without port.
    telemetry
        Counts; its ``observe`` is to subscribe to the rounds' feed.
    clock
        Unix time in seconds, for the expiry of members' requests.
    """

    agreement: FederationAgreement
    federation: FederationReader
    store: DiskStore
    status: Callable[[], ServiceSnapshot]
    dispatcher: Dispatcher | None = None
    allowed_hosts: Sequence[str] = ()
    limits: HttpLimits = field(default_factory=HttpLimits)
    telemetry: Telemetry = field(default_factory=Telemetry)
    clock: Callable[[], float] = time.time
