"""Bounds on what one client may cost; generous for participants, small for abuse."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Bounds of the HTTP server.

    Attributes
    ----------
    body_bytes
        Longest request body: some batches of transactions, each at most 128 KiB before hex.
    requests_per_client, connections_per_client
        Requests being answered, and open connections, of one address at a time.
    connections
        Open connections of all clients together.
    header_s, body_s, write_s
        Seconds a client may take to send its headers, its body, and to make room for more of
        an answer. Longer is a connection kept busy on purpose, or a dead peer.
    keep_alive_s
        Seconds a connection may be idle between requests.
    rpc_threads, read_threads
        JSON-RPC requests worked on, and blobs read from disk, at the same time.
    cpu_burst_s, cpu_share
        Processor seconds that one client's JSON-RPC may use at once, and in each second.
    """

    body_bytes: int = 2 * 1024 * 1024
    requests_per_client: int = 64
    connections_per_client: int = 256
    connections: int = 2_048
    header_s: float = 15.0
    body_s: float = 30.0
    write_s: float = 60.0
    keep_alive_s: int = 120
    rpc_threads: int = 4
    read_threads: int = 8
    cpu_burst_s: float = 20.0
    cpu_share: float = 0.25
