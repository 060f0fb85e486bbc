"""The parts of the service that the HTTP server shows."""

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
from coordinator.stores.evaluations import EvaluationFolder


@dataclass(frozen=True)
class HttpContext:
    """The parts of one coordinator's service.

    Attributes
    ----------
    agreement
        Served at ``/federation``; says who may read updates.
    federation
        The contract, on the embedded chain or any node.
    store
        The artifact store; only blobs that the chain has committed to are served.
    status
        Returns the service's state, without waiting, from any thread.
    dispatcher
        The embedded chain's JSON-RPC, served at ``/rpc``; ``None`` on an external chain.
    allowed_hosts
        Host headers accepted besides loopback's, without port.
    telemetry
        Counts requests and rounds; its ``observe`` must be subscribed to the rounds' feed.
    evaluations
        What participants said of models, of which only summaries are shown; ``None`` if the
        federation agreed on no evaluation.
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
    evaluations: EvaluationFolder | None = None
    clock: Callable[[], float] = time.time
