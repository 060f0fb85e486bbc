"""Flower's ``Context`` for the application, with a durable state.

Flower keeps a node's state in memory and discards it with every run; here it is kept when the
coordinator starts a new run, and when the SuperNode or this process is restarted.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

# isort: split
from flwr.app import Context, Message, RecordDict

from clients.daemon.relay import pack_records, unpack_records
from coordinator.local.files import write_durably
from coordinator.local.frames import ChannelError
from coordinator.protocol.canonical import canonical_json, parse_json
from coordinator.protocol.errors import StoreError, VerificationError


class Contexts:
    """One application's context.

    Parameters
    ----------
    path
        The file of its state.
    node_config
        The participant's own settings for the application.

    Raises
    ------
    StoreError
        If the file exists and cannot be read.
    """

    def __init__(self, path: Path, node_config: Mapping[str, bool | int | float | str]) -> None:
        self._path = path
        self._node_config = dict(node_config)
        self._saved = _read(path)
        self._state = self._decoded()

    def context(self, message: Message, run_config: Mapping[str, Any]) -> Context:
        """Return the context for one message."""
        metadata = message.metadata
        return Context(
            metadata.run_id,
            metadata.dst_node_id,
            dict(self._node_config),
            self._state,
            dict(run_config),
        )

    def keep(self, context: Context) -> None:
        """Keep the application's state; nothing is written if it did not change.

        Raises
        ------
        StoreError
            If the file cannot be written.
        """
        encoded = _encoded(context.state)
        if encoded != self._saved:
            write_durably(self._path, [encoded])
            self._saved = encoded
        self._state = context.state

    def discard(self) -> None:
        """Discard the application's changes since the last :meth:`keep`."""
        self._state = self._decoded()

    def _decoded(self) -> RecordDict:
        if not self._saved:
            return RecordDict()
        try:
            size = int.from_bytes(self._saved[:4], "big")
            about = parse_json(self._saved[4 : 4 + size], str(self._path))
            at, parts = 4 + size, []
            for length in about["sizes"]:
                parts.append(self._saved[at : at + length])
                at += length
            return unpack_records(about["header"], parts)
        except (VerificationError, ChannelError, KeyError, TypeError) as error:
            raise StoreError(
                f"{self._path}: the application's state is damaged ({error}); remove it to start "
                "afresh"
            ) from error


def _encoded(state: RecordDict) -> bytes:
    if not state:
        return b""
    header, parts = pack_records(state)
    about = canonical_json({"header": header, "sizes": [len(part) for part in parts]})
    return b"".join([len(about).to_bytes(4, "big"), about, *parts])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}") from error
