"""A federation with a stub of its coordinator in this process, and real participant daemons.

The stub has the real chain, store, HTTP server and round service, but no Flower: it talks to the
daemons over their Unix sockets, as the ClientApp of a SuperNode does.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from eth_account import Account

import coordinator.flower.environment  # noqa: F401

# isort: split
from fedproof_command import Process, kill_group, start_service
from flower_deployment import free_port
from flwr.app import ConfigRecord, Context, Message, Metadata, RecordDict

from clients.daemon.relay import SOCKET_SETTING
from clients.daemon.shim import Relay
from clients.data.load import load_data
from coordinator.daemon.chain import open_service_chain
from coordinator.flower.records import (
    ModelLayout,
    instruction_content,
    instruction_records,
    model_arrays,
    read_submission,
    vector_array,
)
from coordinator.founding.create import create_federation
from coordinator.http.http_context import HttpContext
from coordinator.http.server import serve_http
from coordinator.http.snapshot import ServiceSnapshot
from coordinator.local import keyfile
from coordinator.local.paths import socket_path
from coordinator.ports import RoundAnnouncement, RoundOutcome
from coordinator.protocol import wire
from coordinator.protocol.instructions import TRAIN, content_hash, phase_number
from coordinator.protocol.signatures.eip712 import sign_statement
from coordinator.protocol.types import Address, RoundInstruction, SignedInstruction
from coordinator.service.round_service import RoundService
from coordinator.service.scorers import RuleScorer
from coordinator.settings.agreement import read_agreement
from coordinator.settings.coordinator import load_coordinator
from coordinator.stores.disk import DiskStore
from coordinator.stores.instructions import InstructionFolder
from coordinator.stores.run_folder import FileJournal

FEDERATION = """
name = "bench"
seed = 3

[input]
shape = [3]
classes = 2

[features]
names = ["a", "b", "c"]
mean = [1.0, 2.0, 3.0]
scale = [1.0, 2.0, 4.0]
label = "sick"

[training]
epochs = 2
batch_size = 8
learning_rate = 0.25

[round]
min_contributors = {contributors}
duration_s = {duration_s}
sealed = {sealed}

[windows]
challenge_window_s = 0
unbonding_s = 7200
answer_s = 60

[host]
http_port = {http_port}
superlink_port = {superlink_port}
tls = false
"""


def found_bench(
    folder: Path, names: list[str], *, sealed: bool = False, duration_s: int = 600
) -> Path:
    """Create a federation without TLS on free ports; every participant has its own data."""
    text = FEDERATION.format(
        contributors=len(names),
        duration_s=duration_s,
        sealed=str(sealed).lower(),
        http_port=free_port(),
        superlink_port=free_port(),
    )
    config = folder / "founding.toml"
    config.write_text(text + "".join(f'\n[[participants]]\nname = "{n}"\n' for n in names))
    out = folder / "federation"
    create_federation(config, out, load_examples=load_data)
    for key in [*out.glob("keys/*.json"), *out.glob("participants/*/account.json")]:
        lighten(key)
    for number, name in enumerate(names):
        write_data(out / "participants" / name / "data.csv", seed=number)
    return out


def lighten(key: Path) -> None:
    """Encrypt a key again with fast key stretching: scrypt takes a second and 256 MB."""
    beside = key.parent / "password.txt"
    password = (beside if beside.exists() else key.with_suffix(".password")).read_text().strip()
    secret = keyfile.load(key, password).key
    key.write_text(json.dumps(Account.encrypt(secret, password, kdf="pbkdf2", iterations=2)))


def write_data(path: Path, *, seed: int, rows: int = 40) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3)) * [1, 2, 4] + [1, 2, 3]
    y = (x @ [1.0, -0.5, 0.25] > 0.5).astype(int)
    lines = [f"{a:.6f},{b:.6f},{c:.6f},{label}" for (a, b, c), label in zip(x, y, strict=True)]
    path.write_text("a,b,c,sick\n" + "\n".join(lines) + "\n")


class CoordinatorStub:
    """Chain, store, HTTP and rounds of a founded federation, in this process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings = load_coordinator(root / "coordinator.toml")
        self.agreement = read_agreement(root / "federation.json")
        self.account = Account.from_key(coordinator_key(root))
        self.open()

    def open(self) -> None:
        """Open everything from the folder."""
        from coordinator.service.agreement import plan_of

        state = self.root / "state"
        self.chain = open_service_chain(
            self.settings.chain, self.agreement, self.account, state, None
        )
        self.federation = self.chain.federation
        self.store = DiskStore(state / "blobs")
        plan = plan_of(self.agreement, self.federation.terms.min_stake_wei)
        self.service = RoundService(
            self.chain.ledger,
            self.store,
            FileJournal(state / "rounds"),
            RuleScorer("examples"),
            plan,
            instructions=InstructionFolder(state / "instructions", whole=True),
        )
        context = HttpContext(
            agreement=self.agreement,
            federation=self.federation,
            store=self.store,
            status=lambda: ServiceSnapshot("waiting"),
            dispatcher=self.chain.dispatcher,
        )
        self.http = serve_http(context, port=self.settings.http.port)

    def close(self) -> None:
        self.http.stop()
        self.chain.close()
        self.store.close()

    def bond(self, address: str) -> int:
        return int(self.federation.account(Address(address)).bond_wei)

    def play(self, daemons: "list[Daemon]") -> RoundOutcome:
        """Play one round with these daemons."""
        announced = self.service.open_round()
        for daemon in daemons:
            reply = daemon.train(announced)
            assert not reply.has_error(), reply.error
            self.submit(announced, reply)
        return self.service.close_round()

    def train_message(self, announced: RoundAnnouncement, **config: Any) -> Message:
        """Return a train message as this coordinator signs it."""
        return train_message(announced, bytes(self.account.key), **config)

    def submit(self, announced: RoundAnnouncement, reply: Message) -> None:
        sent = read_submission(reply.content, announced.manifest.dimension)
        self.service.submit(sent.signed, np.array(sent.vector), sent.metrics)


@contextmanager
def coordinator_stub(root: Path) -> Iterator[CoordinatorStub]:
    stub = CoordinatorStub(root)
    try:
        yield stub
    finally:
        stub.close()


def train_message(
    announced: RoundAnnouncement, key: bytes, node: int = 7, kind: str = TRAIN, **config: Any
) -> Message:
    """Return a train message, or one of another kind, signed with the coordinator's key."""
    layout = ModelLayout(tuple(spec.name for spec in announced.manifest.tensors), {}, {})
    layout = ModelLayout.of(model_arrays(announced.model, announced.manifest, layout))
    signed_content = instruction_content(layout, ConfigRecord(config), sealed=announced.sealed)
    statement = RoundInstruction(
        announced.round_id,
        phase_number(kind),
        announced.model_root,
        announced.rule_hash,
        announced.deadline,
        content_hash(signed_content),
    )
    signed = sign_statement(announced.domain, statement, key)
    instruction = SignedInstruction(announced.domain, signed, signed_content)
    content = instruction_records(announced, vector_array(announced.model), layout, instruction)
    return message(content, kind, node, group=str(announced.round_id))


def coordinator_key(root: Path) -> bytes:
    """Return the key of a founded federation's coordinator."""
    password = (root / "keys" / "coordinator.password").read_text().strip()
    return bytes(keyfile.load(root / "keys" / "coordinator.json", password).key)


def message(content: RecordDict, kind: str, node: int = 7, group: str = "") -> Message:
    metadata = Metadata(1, "m1", 1, node, "", group, time.time(), 3600.0, kind)
    return Message(content, metadata=metadata)


class Daemon:
    """One ``fedproof client`` process of a founded federation."""

    def __init__(self, root: Path, name: str, *options: str, env: dict | None = None) -> None:
        self.folder = root / "participants" / name
        self.coordinator_key = coordinator_key(root)
        self.state = self.folder / "state"
        self.socket = socket_path(self.state, "participant")
        self._options, self._env = options, env or {}
        self.output = self.folder / "output.txt"
        self.process: Process | None = None
        self.wrapper: list[str] = []

    def start(self) -> "Daemon":
        command = ["client", "--config", "participant.toml", *self._options]
        self.process = start_service(
            *command, output=self.output, cwd=self.folder, env=self._env, wrapper=self.wrapper
        )
        return self

    def __enter__(self) -> "Daemon":
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            kill_group(self.process)

    def kill(self) -> None:
        """``kill -9`` of the daemon only: its children must end by themselves."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def end(self, number: int = signal.SIGTERM, timeout_s: float = 120) -> int:
        assert self.process is not None
        os.kill(self.process.pid, number)
        return self.process.wait(timeout_s)

    def wait(self, timeout_s: float = 240) -> int:
        assert self.process is not None
        return self.process.wait(timeout_s)

    def status(self) -> dict[str, Any]:
        try:
            status: dict[str, Any] = json.loads((self.state / "status.json").read_bytes())
            return status
        except FileNotFoundError:
            return {}

    def said(self) -> str:
        return self.output.read_text()

    def until(self, holds: Callable[[dict[str, Any]], Any], timeout_s: float = 240) -> dict:
        """Wait until ``holds`` is true of its status."""
        end = time.monotonic() + timeout_s
        while True:
            status = self.status()
            if status.get("pid") == self.process.pid and holds(status):
                return status
            assert self.process.poll() is None, f"ended {self.process.returncode}: {self.said()}"
            assert time.monotonic() < end, f"{status}\n{self.said()}"
            time.sleep(0.05)

    def ready(self) -> dict[str, Any]:
        return self.until(lambda s: s["state"] == "ready" and not s["faults"])

    def ask(self, request: Message, patience_s: float = 60.0) -> Message:
        """Send a message as Flower's ClientApp would, and return the reply."""
        context = Context(1, 7, {SOCKET_SETTING: str(self.socket)}, RecordDict(), {})
        return Relay(patience_s)(request, context)

    def train(self, announced: RoundAnnouncement, **config: Any) -> Message:
        return self.ask(train_message(announced, self.coordinator_key, **config))

    def hello(self, node: int = 7) -> Message:
        return self.ask(message(RecordDict({wire.HELLO: ConfigRecord({})}), "query", node))


if __name__ == "__main__":
    sys.exit("a module of test support")
