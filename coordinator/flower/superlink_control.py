"""Controls Flower's SuperLink: starts and stops runs, registers nodes.

The same calls that ``flwr run`` and ``flwr supernode register`` make, without a process for each
and with the secret that our guard requires. Not handled: deciding when (``engine``,
``node_registry``).
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

# isort: split
import httpx

from coordinator.flower.guard import CONTROL_HEADER
from coordinator.flower.internals import NodeStatus, control_client, control_pb2, start_run_request
from coordinator.protocol.errors import FedproofError

_FINISHED: Final = "finished"
_MAX_RUNS: Final = 100


class SuperLinkError(FedproofError):
    """The SuperLink did not answer, or refused; the call is tried again later.

    ``answered`` is true if it refused: then it is alive, with a full disk for example.
    """

    exit_code = 70

    def __init__(self, message: str, *, answered: bool = False) -> None:
        super().__init__(message)
        self.answered = answered


class SuperLinkControl:
    """One SuperLink's control interface.

    Parameters
    ----------
    address
        ``host:port``.
    root_certificates
        PEM of the authority that signed its certificate; ``None`` for plain HTTP.
    secret
        The ``control_secret`` of the guard's settings.
    """

    def __init__(self, address: str, root_certificates: bytes | None, secret: str) -> None:
        self._address = address
        self._client = control_client(address, root_certificates, {CONTROL_HEADER: secret})

    def start_run(self, app: Path, config: Mapping[str, str | int | float | bool]) -> int:
        """Start a run of the Flower app in a folder; return its number.

        Raises
        ------
        SuperLinkError
            If the SuperLink does not answer, or refuses.
        """
        answer = self._call("StartRun", start_run_request(app, config))
        if not answer.HasField("run_id"):
            message = f"SuperLink {self._address}: did not start the run"
            raise SuperLinkError(message, answered=True)
        return int(answer.run_id)

    def unfinished_runs(self) -> list[int]:
        """Return the runs that have not finished, the newest first."""
        answer = self._call("ListRuns", control_pb2.ListRunsRequest(limit=_MAX_RUNS))
        return [
            int(run.run_id) for run in answer.run_dict.values() if run.status.status != _FINISHED
        ]

    def stop_run(self, run_id: int) -> None:
        """Stop a run."""
        self._call("StopRun", control_pb2.StopRunRequest(run_id=run_id))

    def nodes(self) -> dict[bytes, int]:
        """Return the registered nodes: number by public key (PEM).

        Flower lists removed nodes for ever; they are left out here.
        """
        answer = self._call("ListNodes", control_pb2.ListNodesRequest())
        return {
            bytes(node.public_key): int(node.node_id)
            for node in answer.nodes_info
            if node.status != NodeStatus.UNREGISTERED
        }

    def register_node(self, public_key: bytes, name: str) -> int:
        """Register a node by its public key (PEM); return its number."""
        request = control_pb2.RegisterNodeRequest(public_key=public_key, name=name)
        return int(self._call("RegisterNode", request).node_id)

    def unregister_node(self, node_id: int) -> None:
        """Remove a node; it is refused from then on."""
        self._call("UnregisterNode", control_pb2.UnregisterNodeRequest(node_id=node_id))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _call(self, name: str, request: Any) -> Any:
        try:
            return getattr(self._client, name)(request)
        except httpx.HTTPStatusError as refused:
            raise SuperLinkError(
                f"SuperLink {self._address}: {name} refused with status "
                f"{refused.response.status_code}: {refused.response.text[:300]}",
                answered=True,
            ) from refused
        except (httpx.HTTPError, ValueError) as failed:
            raise SuperLinkError(
                f"SuperLink {self._address}: {name}: {type(failed).__name__}: {failed}"
            ) from failed


class ControlSlot:
    """One connection shared by several threads; it is closed once no thread uses it.

    Parameters
    ----------
    connect
        Opens a connection, at the first use and at the first use after :meth:`let_go`.
    """

    def __init__(self, connect: Callable[[], SuperLinkControl]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._shared: _SharedConnection | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._shared is not None

    @contextlib.contextmanager
    def use(self) -> Iterator[SuperLinkControl]:
        """Yield the connection, and keep it open until the caller is done."""
        with self._lock:
            shared = self._shared = self._shared or _SharedConnection(self._connect())
            shared.users += 1
        try:
            yield shared.control
        finally:
            with self._lock:
                shared.users -= 1
                over = not shared.users and shared is not self._shared
            if over:
                shared.control.close()

    def let_go(self) -> None:
        """Close the connection now, or once its last user is done."""
        with self._lock:
            shared, self._shared = self._shared, None
            over = shared is not None and not shared.users
        if shared is not None and over:
            shared.control.close()


@dataclass
class _SharedConnection:
    control: SuperLinkControl
    users: int = 0
