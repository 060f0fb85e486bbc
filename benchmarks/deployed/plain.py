"""A plain Flower deployment: SuperLink, SuperNodes, TLS, node authentication, FedAvg."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_public_key,
)

from benchmarks.deployed.byte_counter import HOST, ByteCounter, Bytes
from benchmarks.deployed.deployment import (
    APP,
    PROGRAMS,
    Deployment,
    free_ports,
    wait_until_listening,
    write_data,
)
from benchmarks.deployed.timeline import RoundTimes, read_lines, rounds_of
from coordinator.flower.superlink_control import SuperLinkControl
from coordinator.founding.certificates import NodeKey, make_authority, make_node_key, make_server


class PlainFlower(Deployment):
    """A plain Flower federation with Flower's own defaults.

    Parameters
    ----------
    client_app
        The module of the ClientApp.
    """

    name = "plain Flower"

    def __init__(
        self, folder: Path, nodes: int, rounds: int, client_app: str = "client_app"
    ) -> None:
        super().__init__(folder, nodes, rounds)
        self._data = write_data(folder, nodes)
        self._app = folder / "app"
        shutil.copytree(APP, self._app)
        project = self._app / "pyproject.toml"
        chosen = project.read_text().replace("bench_app.client_app:", f"bench_app.{client_app}:")
        project.write_text(chosen)
        self._keys = [self._write_key(number) for number in range(nodes)]
        self._certify()
        self._port, *self._node_ports = free_ports(1 + nodes)
        self._byte_counter = ByteCounter({"flower": self._port})

    def start(self) -> None:
        """Start the SuperLink, and once it listens, the nodes and the run."""
        self._byte_counter.__enter__()
        self.began = time.time()
        tls = ["--ssl-ca-certfile", "ca.crt", "--ssl-certfile", "server.crt"]
        tls += ["--ssl-keyfile", "server.key"]
        self._run(
            *("coordinator", PROGRAMS / "flower-superlink", "--host", HOST, "--port"),
            *(str(self._port), *tls, "--enable-supernode-auth"),
            FLWR_HOME=str(self.folder / "home"),
        )
        wait_until_listening(self._port)
        ca = (self.folder / "ca.crt").read_bytes()
        control = SuperLinkControl(f"{HOST}:{self._port}", ca, "")
        for number, key in enumerate(self._keys):
            control.register_node(_pem(key), f"node{number}")
            self._start_node(number)
        clock = str(self.folder / "server.clock")
        control.start_run(self._app, {"rounds": self.rounds, "nodes": self.nodes, "clock": clock})
        control.close()

    def times(self) -> list[RoundTimes]:
        """Return the rounds that are aggregated."""
        return rounds_of(read_clocks(self.folder, self.nodes))

    def traffic(self) -> dict[str, Bytes]:
        """Return the bytes between SuperNodes and SuperLink."""
        return {"flower": self._byte_counter.read("flower")}

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._byte_counter.__exit__()

    def _start_node(self, number: int) -> None:
        config = {
            "data": str(self._data[number]),
            "clock": str(self.folder / f"node{number}.clock"),
        }
        settings = " ".join(f'{name}="{value}"' for name, value in config.items())
        self._run(
            *(f"node{number}", PROGRAMS / "flower-supernode"),
            *("--superlink", f"{HOST}:{self._byte_counter.ports['flower']}"),
            *("--root-certificates", "ca.crt"),
            *("--auth-supernode-private-key", f"node{number}.key"),
            *("--host", HOST, "--port", str(self._node_ports[number])),
            *("--node-config", settings),
            FLWR_HOME=str(self.folder / f"home{number}"),
        )

    def _write_key(self, number: int) -> NodeKey:
        key = make_node_key(f"node{number}")
        path = self.folder / f"node{number}.key"
        path.touch(mode=0o600)
        path.write_bytes(key.private)
        return key

    def _certify(self) -> None:
        authority = make_authority("bench")
        server = make_server(authority, [HOST, "localhost"])
        (self.folder / "ca.crt").write_bytes(authority.certificate)
        (self.folder / "server.crt").write_bytes(server.certificate)
        (self.folder / "server.key").write_bytes(server.key)


def read_clocks(folder: Path, nodes: int) -> Sequence[dict[str, object]]:
    """Return the marks of server and nodes."""
    lines = read_lines(folder / "server.clock")
    for number in range(nodes):
        marks = read_lines(folder / f"node{number}.clock")
        lines += [{**mark, "by": number} for mark in marks]
    return lines


def _pem(key: NodeKey) -> bytes:
    public = load_ssh_public_key(key.public.encode())
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
