"""The SuperLink's nodes follow the registry file; a mistake in it shuts nobody out."""

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from coordinator.flower.node_registry import NodeRegistry
from coordinator.protocol.errors import ConfigError, FedproofError
from coordinator.settings.registry import RegisteredParticipant, Registry


class Directory:
    """A SuperLink's list of nodes."""

    def __init__(self) -> None:
        self.found: dict[bytes, int] = {}
        self.names: dict[int, str] = {}
        self.calls = 0

    def nodes(self) -> dict[bytes, int]:
        return dict(self.found)

    def register_node(self, public_key: bytes, name: str) -> int:
        self.calls += 1
        self.found[public_key] = 100 + self.calls
        self.names[100 + self.calls] = name
        return 100 + self.calls

    def unregister_node(self, node_id: int) -> None:
        self.calls += 1
        self.found = {k: n for k, n in self.found.items() if n != node_id}


KEYS = [ec.generate_private_key(ec.SECP384R1()).public_key() for _ in range(3)]
PEM = [k.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for k in KEYS]
SSH = [k.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() for k in KEYS]


def write(path: Path, *clients: int, unkeyed: bool = False) -> None:
    people = [
        RegisteredParticipant(name=f"p{n}", address=f"0x{n + 1:040x}", node_key=SSH[n])
        for n in clients
    ]
    if unkeyed:
        people.append(RegisteredParticipant(name="later", address="0x" + "99" * 20))
    path.write_bytes(Registry(participants=people).to_json())
    later = path.stat().st_mtime_ns + 1_000_000_000
    os.utime(path, ns=(later, later))


def test_nodes_are_admitted_and_shut_out_as_the_file_changes(tmp_path: Path):
    path, directory = tmp_path / "registry.json", Directory()
    write(path, 0, 1, unkeyed=True)
    registry = NodeRegistry(path)
    registry.sync(directory)
    assert set(directory.found) == {PEM[0], PEM[1]}
    assert set(directory.names.values()) == {"p0", "p1"}
    registry.sync(directory)
    assert directory.calls == 2
    write(path, 1, 2)
    registry.sync(directory)
    assert set(directory.found) == {PEM[1], PEM[2]}
    assert directory.calls == 4


class Refused(FedproofError):
    """As ``SuperLinkError``: whether the SuperLink is there at all."""

    def __init__(self, *, answered: bool) -> None:
        super().__init__("refused")
        self.answered = answered


def test_who_is_refused_keeps_nobody_else_out(tmp_path: Path):
    class Choosy(Directory):
        answers = True

        def register_node(self, public_key: bytes, name: str) -> int:
            if name == "p0":
                raise Refused(answered=self.answers)
            return super().register_node(public_key, name)

        def unregister_node(self, node_id: int) -> None:
            raise Refused(answered=True)

    path, directory = tmp_path / "registry.json", Choosy()
    directory.found = {PEM[2]: 7}
    write(path, 0, 1)
    registry = NodeRegistry(path)
    with pytest.raises(Refused):
        registry.sync(directory)
    assert set(directory.found) == {PEM[1], PEM[2]}
    # one that does not answer is not asked about the others
    silent = Choosy()
    silent.answers = False
    with pytest.raises(Refused):
        NodeRegistry(path).sync(silent)
    assert silent.found == {}


def test_nodes_that_were_taken_out_are_not_taken_out_again(monkeypatch: pytest.MonkeyPatch):
    """Flower lists them for good, and refuses to take them out twice."""
    from flwr.proto.control_pb2 import ListNodesResponse
    from flwr.proto.node_pb2 import NodeInfo

    from coordinator.flower.superlink_control import SuperLinkControl

    rows = [("registered", 1), ("online", 2), ("offline", 3), ("unregistered", 4)]
    nodes = [NodeInfo(node_id=n, status=status, public_key=bytes([n])) for status, n in rows]
    control = SuperLinkControl("127.0.0.1:1", None, "secret")
    answer = ListNodesResponse(nodes_info=nodes)
    monkeypatch.setattr(control, "_call", lambda name, request: answer)
    assert control.nodes() == {b"\x01": 1, b"\x02": 2, b"\x03": 3}
    control.close()


def test_a_new_superlink_database_gets_all_of_them(tmp_path: Path):
    path = tmp_path / "registry.json"
    write(path, 0)
    registry = NodeRegistry(path)
    registry.sync(Directory())
    fresh = Directory()
    registry.sync(fresh)
    assert set(fresh.found) == {PEM[0]}


def test_a_mistake_in_the_file_is_told_and_shuts_nobody_out(tmp_path: Path):
    path, directory = tmp_path / "registry.json", Directory()
    write(path, 0, 1)
    registry = NodeRegistry(path)
    registry.sync(directory)
    path.write_text("{")
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"registry\.json"):
            registry.sync(directory)
    assert set(directory.found) == {PEM[0], PEM[1]}
    path.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        registry.sync(directory)


def test_a_key_that_is_none_is_named(tmp_path: Path):
    path = tmp_path / "registry.json"
    write(path, 0)
    kind, body = SSH[0].split(" ")[:2]
    path.write_text(path.read_text().replace(body, "A" * len(body)))
    with pytest.raises(ConfigError, match="node_key of 'p0': not an OpenSSH public key"):
        NodeRegistry(path).keys()
    assert kind == "ecdsa-sha2-nistp384"
