"""Raw HTTP requests to a server under test, sent exactly as given."""

import contextlib
import http.client
import json
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

ADMINISTRATIVE = [
    "admin_addPeer", "admin_datadir", "admin_nodeInfo", "admin_peers", "admin_startHTTP",
    "admin_stopHTTP", "admin_exportChain", "admin_importChain",
    "debug_setHead", "debug_traceTransaction", "debug_traceCall", "debug_memStats",
    "debug_storageRangeAt", "debug_getRawBlock",
    "personal_newAccount", "personal_unlockAccount", "personal_sendTransaction",
    "personal_importRawKey", "personal_listAccounts", "personal_sign",
    "miner_start", "miner_stop", "miner_setEtherbase", "miner_setGasPrice",
    "eth_sendTransaction", "eth_sign", "eth_signTransaction",
    "evm_mine", "evm_setNextBlockTimestamp", "evm_increaseTime", "evm_snapshot", "evm_revert",
    "anvil_setBalance", "anvil_impersonateAccount", "anvil_reset",
    "hardhat_setBalance", "hardhat_setCode", "hardhat_impersonateAccount",
    "txpool_content", "txpool_inspect",
    "engine_newPayloadV4", "engine_forkchoiceUpdatedV3",
    "clique_propose", "les_addBalance", "parity_setMode", "rpc_modules",
    "fedproof_mineBatch",
]  # fmt: skip
"""Methods of other nodes that hold keys, trace, administer or cheat: none of them is ours."""


@dataclass(frozen=True)
class Said:
    """An answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)


@dataclass(frozen=True)
class Asker:
    """Sends requests to one server, each over a new connection."""

    url: str
    ca: Path | None = None

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    @property
    def context(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=str(self.ca)) if self.ca else None

    def connect(self) -> http.client.HTTPConnection:
        if self.context is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=self.context)

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Said:
        connection = self.connect()
        try:
            # A server that refuses early closes its end; its answer can still be read.
            with contextlib.suppress(BrokenPipeError):
                connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Said(answer.status, named, answer.read())
        finally:
            connection.close()

    def rpc(self, method: str, *params: Any, **headers: str) -> Said:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        sent = {"Content-Type": "application/json", **headers}
        return self.ask("/rpc", "POST", body.encode(), sent)

    def raw(self) -> socket.socket:
        """Return a connection without a request on it, after the TLS handshake if there is TLS."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        if self.context is None:
            return plain
        return self.context.wrap_socket(plain, server_hostname="localhost")


def samples(page: str) -> dict[str, float]:
    """Parse a page of metrics with prometheus-client: each sample by its name and labels."""
    values: dict[str, float] = {}
    kinds: dict[str, str] = {}
    for family in text_string_to_metric_families(page):
        assert family.name not in kinds, f"{family.name} is there twice"
        kinds[family.name] = family.type
        assert family.type != "unknown", f"{family.name} has no type"
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
            name = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert name not in values, f"{name} is there twice"
            values[name] = sample.value
    return values
