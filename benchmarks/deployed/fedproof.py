"""A federation of ``fedproof federation init``: TLS, embedded chain, a daemon per participant."""

import json
import secrets
import sys
import time
from pathlib import Path
from typing import Any

from eth_account import Account

from benchmarks.deployed.byte_counter import HOST, ByteCounter, Bytes
from benchmarks.deployed.deployment import (
    Deployment,
    free_ports,
    wait_until_listening,
    with_lines,
    write_data,
)
from benchmarks.deployed.timeline import RoundTimes, instant, read_lines, rounds_of
from clients.data.load import load_data
from coordinator.founding.create import OwnKey, create_federation

FOUNDING = """
name = "bench"

[input]
shape = [64]
classes = 10

[model]
kind = "mlp"
hidden = [384, 192]

[numbers]
norm_bound = 100.0

[round]
min_contributors = {nodes}
min_online = {nodes}
duration_s = 900
rounds = {rounds}
sealed = {sealed}

[windows]
challenge_window_s = 30
unbonding_s = 3600
answer_s = 60

[host]
http_port = {http}
superlink_port = {superlink}
"""
_EVENTS = {"round opened": "opened", "update accepted": "received", "round sealed": "sealed"}


class Fedproof(Deployment):
    """The same unmodified application as plain Flower's, in each participant's daemon.

    Parameters
    ----------
    sealed
        Whether participants commit to their updates before any is revealed.
    """

    name = "fedproof"
    settle_s = 36.0
    """Seconds until the last round is final and participants have copied its model."""

    def __init__(self, folder: Path, nodes: int, rounds: int, *, sealed: bool = False) -> None:
        super().__init__(folder, nodes, rounds)
        self._root = folder / "federation"
        http, superlink = free_ports(2)
        self._superlink = superlink
        self._byte_counter = ByteCounter({"http": http, "flower": superlink})
        names = [f"node{number}" for number in range(nodes)]
        text = FOUNDING.format(
            nodes=nodes, rounds=rounds, sealed=str(sealed).lower(), http=http, superlink=superlink
        )
        keys = {name: _light_account(folder, name) for name in (*names, "coordinator")}
        text += "".join(
            f'\n[[participants]]\nname = "{name}"\naddress = "{keys[name][1]}"\n' for name in names
        )
        (folder / "federation.toml").write_text(text)
        key, _, password = keys["coordinator"]
        create_federation(
            folder / "federation.toml", self._root, OwnKey(key, password), load_examples=load_data
        )
        ports = {
            str(http): self._byte_counter.ports["http"],
            str(superlink): self._byte_counter.ports["flower"],
        }
        for name, data in zip(names, write_data(folder, nodes), strict=True):
            key, _, password = keys[name]
            self._equip(name, data, key, password, ports)

    def start(self) -> None:
        """Start the coordinator, and once its SuperLink listens, all participants."""
        self._byte_counter.__enter__()
        self.began = time.time()
        program = (sys.executable, "-m", "simulations")
        settings = self._root / "coordinator.toml"
        self._run("coordinator", *program, "coordinator", "--config", settings)
        wait_until_listening(self._superlink)
        for number in range(self.nodes):
            settings = self._participant(f"node{number}") / "participant.toml"
            self._run(f"node{number}", *program, "client", "--config", settings)

    def times(self) -> list[RoundTimes]:
        """Return the rounds that are sealed."""
        lines = [
            {
                "event": _EVENTS[line["message"]],
                "round": line["round"],
                "time": instant(line["time"]),
            }
            for line in self.events()
            if line["message"] in _EVENTS
        ]
        for number in range(self.nodes):
            marks = read_lines(self.folder / f"node{number}.clock")
            lines += [{**mark, "by": number} for mark in marks]
        return rounds_of(lines)

    def events(self) -> list[dict[str, Any]]:
        """Return the coordinator's structured log."""
        return read_lines(self._root / "state" / "logs" / "coordinator.jsonl")

    def traffic(self) -> dict[str, Bytes]:
        """Return the bytes between participants and coordinator, by port: Flower's and HTTP's."""
        return {name: self._byte_counter.read(name) for name in ("flower", "http")}

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._byte_counter.__exit__()

    def _participant(self, name: str) -> Path:
        return self._root / "participants" / name

    def _equip(
        self, name: str, data: Path, key: Path, password: str, ports: dict[str, int]
    ) -> None:
        """Give a participant its key, and route its connections through the byte counter."""
        folder = self._participant(name)
        _write_private(folder / "account.json", key.read_bytes())
        _write_private(folder / "password.txt", password.encode())
        config = f'config = {{ data = "{data}", clock = "{self.folder / name}.clock" }}'
        replacements = {
            'state = "state"': 'state = "state"\napp = "bench_app.client_app:app"',
            'key = "account.json"': 'key = "account.json"\npassword_file = "password.txt"',
            'key = "node.key"': f'key = "node.key"\n{config}',
            **{f"{HOST}:{old}": f"{HOST}:{new}" for old, new in ports.items()},
        }
        settings = folder / "participant.toml"
        settings.write_text(with_lines(settings.read_text(), replacements))


def _light_account(folder: Path, name: str) -> tuple[Path, str, str]:
    """Write a new key file with a fast key derivation; return its path, address and password."""
    account, password = Account.create(), secrets.token_urlsafe(16)
    path = folder / f"{name}.json"
    _write_private(path, json.dumps(account.encrypt(password, kdf="pbkdf2", iterations=2)).encode())
    return path, str(account.address), password


def _write_private(path: Path, data: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(data)
