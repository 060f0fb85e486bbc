"""A TCP proxy that can simulate a lost link: forwards bytes, or holds them back.

While it holds them, connections stay open and new ones are accepted, but nothing arrives on either
side, as when a cable is unplugged: no RST, no FIN.
"""

import contextlib
import socket
import threading


class TcpProxy:
    """A context manager; ``port`` is where it listens."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._passing = threading.Event()
        self._passing.set()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.passed_bytes = 0
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> "TcpProxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._passing.set()
        for one in [self._server, *self._open]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def hold(self) -> None:
        """Hold all bytes back from now on."""
        self._passing.clear()

    def release(self) -> None:
        """Forward bytes again, first those that were held back."""
        self._passing.set()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
                far = socket.create_connection(self._target, timeout=10)
            except OSError:
                if self._server.fileno() < 0:
                    return
                with contextlib.suppress(OSError, UnboundLocalError):
                    near.close()
                continue
            far.settimeout(None)
            self._open += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65_536):
                self._passing.wait()
                sink.sendall(piece)
                self.passed_bytes += len(piece)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
