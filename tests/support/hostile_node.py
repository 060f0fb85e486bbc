"""A registered node that speaks to the SuperLink by itself: any call of any size."""

import http.client
import ssl
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path

import clients.flower_env  # noqa: F401  (before flwr)

# isort: split
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.common.constant import TIMESTAMP_HEADER
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.date import now
from flwr.supercore.primitives.asymmetric import public_key_to_bytes, sign_message

PIECE = bytes(1 << 20)


class HostileNode:
    """Sends what it likes with a node's own key; ``where`` is the SuperLink's ``host:port``."""

    def __init__(self, where: str, ca: Path, key: Path) -> None:
        self._host, _, port = where.rpartition(":")
        self._port = int(port)
        self._tls = ssl.create_default_context(cafile=ca)
        self._key = load_ssh_private_key(key.read_bytes(), password=None)

    def headers(self) -> dict[str, str]:
        """Return what authenticates the node."""
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
        """Make one call; return status and what was said."""
        connection = self.connect()
        try:
            connection.request("POST", f"/v1/fleet/{call}", body, self.headers())
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()

    def upload(self, call: str, size: int, *, announced: bool) -> tuple[int, str, int]:
        """Upload zeros without looking up; return status, what was said, and bytes written.

        ``announced`` says the size first; otherwise it comes in chunks without a size, for as
        long as they are taken. Status 0 is a connection that was ended on us.
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
