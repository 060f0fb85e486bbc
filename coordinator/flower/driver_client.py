"""The ServerApp's side of the driver: a ``RoundDriver`` whose rounds are run by the service.

Imports neither chain nor keys nor torch: it runs in a process that Flower starts (ADR 90).
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from coordinator.flower import driver_wire as wire
from coordinator.local.channel import ChannelClient, Reply
from coordinator.local.files import Buffer
from coordinator.local.frames import ChannelError, FrameLimits
from coordinator.ports import RoundAnnouncement, RoundOutcome
from coordinator.protocol.errors import ContributorError, FedproofError, VerificationError
from coordinator.protocol.instructions import instruction_from
from coordinator.protocol.types import (
    Commitment,
    Int32Vector,
    JsonObject,
    Presence,
    RoundId,
    Signed,
    SignedInstruction,
    UpdateMessage,
)

_LIMITS: Final = FrameLimits(max_header_bytes=64 << 20, max_attachment_bytes=1 << 33)
"""For one answer. The service is trusted; the limits only guard against a garbled length."""
_CONNECT_S: Final = 10.0


class DriverClient:
    """A :class:`~coordinator.ports.RoundDriver` that calls the service over a Unix socket.

    Parameters
    ----------
    socket
        Path of the service's socket.
    token
        The run's token: admits this ServerApp as the only one that may drive rounds.
    run_id
        Flower's number of the run, for the service's log.

    Raises
    ------
    ChannelClosedError
        If the service does not listen.
    PhaseError
        If this run is not the current one.
    """

    def __init__(self, socket: Path, token: str, run_id: int) -> None:
        self._channel = ChannelClient(socket, _LIMITS, connect_s=_CONNECT_S)
        try:
            self.hello = self._channel.call("attach", {"token": token, "run": run_id}).args
        except FedproofError:
            self._channel.close()
            raise
        self._dimension = int(self.hello["dimension"])

    # --- scheduling --------------------------------------------------------------------------

    def beat(self, nodes: Sequence[int]) -> JsonObject:
        """Report the connected nodes; return the fields of a ``driver_server.Beat``."""
        return self._call("beat", {"nodes": list(nodes)}).args

    def greet(self, signed: Signed[Presence]) -> None:
        """Pass on a node's presence statement; raises ``ContributorError`` if it is not valid."""
        self._call("greet", {"signed": wire.presence_json(signed)})

    def refuse_presence(self, node: int, error: Exception) -> None:
        """Have the service log that a node's presence statement was refused, and why."""
        self._call("refuse_presence", {"node": node, "message": str(error)})

    # --- the round -----------------------------------------------------------------------------

    def open_round(self) -> RoundAnnouncement:
        """Open the next round, or go on with one that a crash left open."""
        reply = self._call("open_round")
        return wire.announcement_from(reply.args, self._vector(reply))

    def sign_instruction(
        self, round_id: RoundId, phase: str, content: JsonObject
    ) -> SignedInstruction:
        """Sign the one instruction of a phase of a round, or return the one signed before."""
        args = {"round": int(round_id), "phase": phase, "content": content}
        reply = self._call("sign_instruction", args)
        try:
            return instruction_from(reply.args.get("instruction"), "the service's instruction")
        except VerificationError as error:
            raise ChannelError(str(error)) from error

    def commit(self, signed: Signed[Commitment]) -> None:
        """Offer one commitment of a sealed round; raises ``ContributorError`` if refused."""
        self._call("commit", {"signed": wire.commitment_json(signed)})

    def close_commitments(self) -> JsonObject | None:
        """Put the commitments on chain and return their document; ``None`` voids the round."""
        document = self._call("close_commitments").args["document"]
        return None if document is None else dict(document)

    def submit(
        self,
        signed: Signed[UpdateMessage],
        vector: Int32Vector,
        metrics: JsonObject,
        salt: bytes | None = None,
    ) -> None:
        """Offer one update; raises ``ContributorError`` if it is refused (and records it)."""
        args = {
            "signed": wire.signed_json(signed),
            "metrics": metrics,
            "salt": None if salt is None else salt.hex(),
        }
        self._call("submit", args, [wire.vector_bytes(vector)])

    def refuse(self, sender: str, error: Exception) -> None:
        """Record a reply that could not be read as a submission."""
        code = error.code if isinstance(error, ContributorError) else "unreadable"
        self._call("refuse", {"sender": sender, "code": code, "message": str(error)})

    def close_round(self) -> RoundOutcome:
        """Aggregate, commit and score what was accepted, or void the round."""
        reply = self._call("close_round")
        return wire.outcome_from(reply.args, self._vector(reply))

    # --- evaluation between rounds ---------------------------------------------------------------

    def begin_evaluation(self) -> tuple[RoundAnnouncement, list[int]] | None:
        """Return the model to evaluate and the nodes to ask; ``None`` if none is due.

        The announcement's model is the one that its round ended with.
        """
        reply = self._call("begin_evaluation")
        if not reply.args["due"]:
            return None
        announcement = wire.announcement_from(reply.args, self._vector(reply))
        return announcement, [int(node) for node in reply.args["nodes"]]

    def evaluated(self, node: int, metrics: JsonObject) -> None:
        """Pass on what a node says of the model; the service checks it."""
        self._call("evaluated", {"node": node, "metrics": metrics})

    def refuse_evaluation(self, node: int, error: ContributorError) -> None:
        """Have the service note why a node's answer does not count."""
        self._call("refuse_evaluation", {"node": node, "code": error.code, "message": str(error)})

    def end_evaluation(self) -> None:
        """Have the service keep what was passed on."""
        self._call("end_evaluation")

    def close(self) -> None:
        """Close the connection: to the service that is the end of this run."""
        self._channel.close()

    def __enter__(self) -> "DriverClient":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _call(
        self, name: str, args: JsonObject | None = None, attachments: Sequence[Buffer] = ()
    ) -> Reply:
        return self._channel.call(name, args, attachments)

    def _vector(self, reply: Reply) -> Int32Vector:
        attached: Sequence[Any] = reply.attachments
        try:
            return wire.vector_from(attached, self._dimension)
        except ContributorError as error:
            raise ChannelError(f"the service's model: {error}") from error
