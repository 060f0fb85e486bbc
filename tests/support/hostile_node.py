"""A registered node that speaks to the SuperLink by itself: any call of any size, any number."""

import http.client
import ssl
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path

import coordinator.flower.environment  # noqa: F401  (before flwr)

# isort: split
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
    PushMessagesResponse,
)
from flwr.proto.message_pb2 import PushObjectRequest, PushObjectResponse
from flwr.proto.node_pb2 import Node
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.date import now
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message
from google.protobuf.message import Message as ProtoMessage

PIECE = bytes(1 << 20)


class HostileNode:
    """Sends arbitrary requests with a node's key; ``where`` is the SuperLink's ``host:port``."""

    def __init__(self, where: str, ca: Path, key: Path) -> None:
        self._host, _, port = where.rpartition(":")
        self._port = int(port)
        self._tls = ssl.create_default_context(cafile=ca)
        self._key = load_ssh_private_key(key.read_bytes(), password=None)
        self._node = Node()

    def headers(self) -> dict[str, str]:
        """Return the headers that authenticate the node."""
        stamp = now().isoformat()
        public = public_key_to_bytes(self._key.public_key())
        signature = sign_message(self._key, stamp.encode("ascii"))
        return {
            FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(public).decode("ascii"),
            TIMESTAMP_HEADER: stamp,
            FLEET_HTTP_SIGNATURE_HEADER: b64encode(signature).decode("ascii"),
            "Content-Type": "application/protobuf",
        }

    def connect(self, timeout_s: float = 60.0) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=timeout_s, context=self._tls
        )

    def post(self, call: str, body: bytes = b"") -> tuple[int, str]:
        """Make one call; return the status and the answer's text."""
        connection = self.connect()
        try:
            connection.request("POST", f"/v1/fleet/{call}", body, self.headers())
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()

    def call(self, name: str, request: ProtoMessage) -> tuple[int, bytes]:
        """Make a well-formed call; return status and body."""
        connection = self.connect()
        try:
            body = request.SerializeToString()
            connection.request("POST", f"/v1/fleet/{name}", body, self.headers())
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def activate(self) -> int:
        """Put the node online for two minutes, as a SuperNode does; return its number."""
        public = public_key_to_bytes(self._key.public_key())
        request = ActivateNodeRequest(public_key=public, heartbeat_interval=60.0)
        status, body = self.call("activate-node", request)
        if status != 200:
            raise ConnectionError(f"activate-node: {status}: {body!r}")
        self._node = Node(node_id=ActivateNodeResponse.FromString(body).node_id)
        return self._node.node_id

    def deactivate(self) -> None:
        """Put the node offline, as a SuperNode does when it ends."""
        request = DeactivateNodeRequest(node_id=self._node.node_id)
        status, body = self.call("deactivate-node", request)
        if status != 200:
            raise ConnectionError(f"deactivate-node: {status}: {body!r}")

    def pull(self) -> Message | None:
        """Return the next instruction without its content, ``None`` if there is none."""
        status, body = self.call("pull-messages", PullMessagesRequest(node=self._node))
        if status != 200:
            raise ConnectionError(f"pull-messages: {status}: {body!r}")
        messages = PullMessagesResponse.FromString(body).messages_list
        return message_from_proto(messages[0]) if messages else None

    def push(self, message: Message, *, upload: bool = False) -> int:
        """Push a well-formed message, with its objects if ``upload``; return the status."""
        message.metadata.__dict__["_message_id"] = message.object_id
        request = PushMessagesRequest(
            node=self._node,
            messages_list=[message_to_proto(remove_content_from_message(message))],
            message_object_trees=[get_object_tree(message)],
            clientapp_runtime_list=[0.1],
        )
        status, body = self.call("push-messages", request)
        if status == 200 and upload:
            answer = PushMessagesResponse.FromString(body)
            objects = get_all_nested_objects(message)
            for wanted in answer.objects_to_push:
                part = PushObjectRequest(
                    node=self._node,
                    run_id=message.metadata.run_id,
                    object_id=wanted,
                    object_content=objects[wanted].deflate(),
                    session_id=answer.session_id,
                )
                code, content = self.call("push-object", part)
                if code != 200 or not PushObjectResponse.FromString(content).stored:
                    raise ConnectionError(f"push-object: {code}: {content!r}")
        return status

    def upload(self, call: str, size: int, *, announced: bool) -> tuple[int, str, int]:
        """Upload zeros without reading answers; return status, answer text, and bytes written.

        With ``announced`` the headers give the size; otherwise the body is chunked, without a
        size. Status 0 is a connection that the server closed.
        """
        connection = self.connect()
        sent = 0
        try:
            connection.putrequest("POST", f"/v1/fleet/{call}")
            size_header = ("Content-Length", str(size))
            coding = size_header if announced else ("Transfer-Encoding", "chunked")
            for name, value in (*self.headers().items(), coding):
                connection.putheader(name, value)
            connection.endheaders()
            try:
                for piece in _pieces(size):
                    framed = piece if announced else b"%x\r\n%b\r\n" % (len(piece), piece)
                    connection.send(framed)
                    sent += len(piece)
            except OSError:
                pass  # it has stopped listening; it may have said why
            try:
                answer = connection.getresponse()
                return answer.status, answer.read().decode(errors="replace"), sent
            except (OSError, http.client.HTTPException):
                return 0, "", sent
        finally:
            connection.close()


def _pieces(size: int) -> Iterable[bytes]:
    for _ in range(size // len(PIECE)):
        yield PIECE
