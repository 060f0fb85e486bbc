"""Who does not belong, and who sends too much: refused with a reason, and rounds go on beside it.

One federation of three, and the key of a fourth, who is registered and hostile. Whatever is tried,
the next round still has all three, and what serves it has not grown.
"""

import contextlib
import http.client
import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fedproof_command import fedproof
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID
from hostile_node import HostileNode
from http_asking import ADMINISTRATIVE, Asker
from live_federation import FULL, PATIENCE_S, Federation, live
from live_founding import set_lines
from participant_bench import Daemon

from coordinator.flower.guard import INITIAL_REPLIES, MAX_REPEATS
from coordinator.founding.certificates import KeyAndCertificate, make_server
from coordinator.protocol.types import RoundId

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]
HUGE = 3 << 30
ENDLESS = 1 << 40
MAX_GROWTH = 200 << 20
"""Bytes of memory by which a process may grow at its peak, whatever it is sent."""
TIMES = 1_000
FORGERIES = TIMES if FULL else 100
PARTS = ("coordinator", "superlink", "serverapp")


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    names = ("berlin", "paris", "rome", "mallory")
    made = live(tmp_path_factory.mktemp("hostile"), duration_s=90, names=names)
    made.daemons.pop("mallory")
    with made:
        made.wait_for_rounds(1)
        yield made


@pytest.fixture
def mallory(federation: Federation) -> HostileNode:
    folder = federation.root / "participants" / "mallory"
    return HostileNode(federation.superlink, folder / "ca.crt", folder / "node.key")


@contextlib.contextmanager
def undisturbed(federation: Federation) -> Iterator[None]:
    """Let something happen; after it a whole round is played, by all three."""
    yield
    reader = federation.reader()
    number = RoundId(reader.head().last_opened + 1)
    federation.wait_until(lambda: reader.round(number).sealed_at, f"round {number} is sealed")
    assert sorted(federation.contributors(number)) == sorted(federation.daemons)


@dataclass(frozen=True)
class Serving:
    """A process that serves others, and the resident bytes it had at first."""

    pid: int
    before: int

    @classmethod
    def now(cls, pid: int) -> "Serving":
        """Begin to watch: the system's note of the peak starts anew."""
        Path(f"/proc/{pid}/clear_refs").write_text("5")
        return cls(pid, status_bytes(pid, "VmRSS"))

    def growth(self) -> int:
        """Return by how many bytes it was larger at its peak since then."""
        return status_bytes(self.pid, "VmHWM") - self.before


def status_bytes(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))


def stranger(federation: Federation, name: str) -> Path:
    """Copy mallory's folder, to be changed."""
    folder = federation.root / "participants" / name
    shutil.copytree(federation.root / "participants" / "mallory", folder)
    return folder


def superlink_said(federation: Federation) -> str:
    return (federation.coordinator.state / "logs" / "superlink.log").read_text()


def test_administrative_methods_and_wrong_hosts(federation: Federation) -> None:
    asker = Asker(federation.coordinator.url, federation.root / "tls" / "ca.crt")
    assert len(set(ADMINISTRATIVE)) >= 40
    with undisturbed(federation):
        for method in ADMINISTRATIVE:
            answer = asker.rpc(method).json
            assert answer["error"]["code"] == -32601, method
            assert method in answer["error"]["message"]
        assert asker.rpc("eth_chainId").json["result"] == "0x539"
        for host in ("evil.example", f"evil.example:{asker.port}", "0.0.0.0", ""):
            answer = asker.rpc("eth_chainId", Host=host)
            assert answer.status == 403, host
            assert "result" not in answer.json
        assert asker.ask("/rpc", "POST", b"[" * 100_000, _JSON).json["error"]["code"] == -32700
        huge = {**_JSON, "Content-Length": str(HUGE)}
        assert asker.ask("/rpc", "POST", b"{}", huge).status == 413


_JSON = {"Content-Type": "application/json"}


def test_a_node_that_is_not_registered(federation: Federation) -> None:
    folder = stranger(federation, "unknown")
    for key in ("node.key", "node.key.pub"):
        (folder / key).unlink()
    made = fedproof("federation", "node-key", folder / "node.key")
    assert made.returncode == 0, made.stderr
    with undisturbed(federation), Daemon(federation.root, "unknown") as unknown:
        federation.wait_until(
            lambda: "the SuperLink does not know this node" in unknown.said(),
            "the participant is told that its node is unknown",
        )
        federation.wait_until(
            lambda: "this node is not registered" in superlink_said(federation),
            "the coordinator says that a stranger was there",
        )
    online = federation.coordinator.status()["contributors"]["online"]
    assert json.loads((folder / "account.json").read_bytes())["address"].lower() not in [
        one.lower() for one in online
    ]


def test_plain_text_on_both_ports(federation: Federation) -> None:
    url = federation.coordinator.url
    ports = {"http": int(url.rsplit(":", 1)[1]), "flower": int(federation.superlink.split(":")[1])}
    with undisturbed(federation):
        for port in ports.values():
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request("GET", "/status")
            with pytest.raises((OSError, http.client.HTTPException)):
                connection.getresponse()
            connection.close()
        folder = stranger(federation, "plain")
        lines = {"rpc": f'"{url.replace("https", "http")}/rpc"', "ca": '""'}
        set_lines(folder / "participant.toml", "coordinator", lines)
        with Daemon(federation.root, "plain") as plain:
            why = plain.until(lambda s: s["faults"].get("chain"), PATIENCE_S)["faults"]["chain"]
        print(f"plain: {why}")
        assert lines["rpc"].strip('"') in why
        asked = "plain HTTP on the TLS port"
        assert federation.coordinator.said().count(asked), federation.coordinator.said()[-2000:]


def misled(federation: Federation, name: str, field: str, value: object) -> Path:
    """Return a participant's folder whose agreement says something else."""
    folder = stranger(federation, name)
    path = folder / "federation.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), field: value}))
    return folder


def test_another_chain(federation: Federation) -> None:
    folder = misled(federation, "wrong-chain", "chain_id", 1338)
    done = fedproof("client", "--config", folder / "participant.toml")
    assert done.returncode == 2
    assert "chain 1337, the federation tumours is on chain 1338" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_contract(federation: Federation) -> None:
    """Nothing is there, so far: on another chain it may yet be deployed. It waits, and says why."""
    nowhere = "0x" + "11" * 20
    misled(federation, "wrong-contract", "contract", nowhere)
    with Daemon(federation.root, "wrong-contract") as waiting:
        found = waiting.until(lambda s: nowhere in s["faults"].get("chain", ""), PATIENCE_S)
    assert "no contract" in found["faults"]["chain"]
    assert (found["state"], found["children"]) == ("connecting", [])


def test_uploads_without_end(federation: Federation, mallory: HostileNode) -> None:
    found = federation.processes()
    serving = {part: Serving.now(found[part]) for part in PARTS}
    with undisturbed(federation):
        for call in ("push-object", "push-messages", "pull-messages"):
            status, said, sent = mallory.upload(call, HUGE, announced=True)
            assert (status, "more than" in said) == (413, True), (call, status, said)
            print(f"{call}: refused, cut after {sent >> 20} MiB")
            assert sent < HUGE
        # without a size it goes on until the connection is cut
        status, said, sent = mallory.upload("push-object", ENDLESS, announced=False)
        print(f"endless: status {status}, cut after {sent >> 20} MiB")
        assert status in (0, 413)
        assert sent < ENDLESS
        with ThreadPoolExecutor(8) as pool:
            garbage = bytes(60_000)
            posts = [pool.submit(mallory.post, "push-messages", garbage) for _ in range(TIMES)]
            statuses = Counter(post.result()[0] for post in posts)
        print(f"{TIMES} messages: {dict(statuses)}")
        assert not statuses[200], statuses
        idle = [mallory.connect() for _ in range(32)]
        for connection in idle:  # each holds a call open, and says nothing more
            connection.putrequest("POST", "/v1/fleet/push-object")
            for name, value in (*mallory.headers().items(), ("Content-Length", "1000")):
                connection.putheader(name, value)
            connection.endheaders()
    growth = {part: one.growth() for part, one in serving.items()}
    print(f"grown by MiB: { ({part: value >> 20 for part, value in growth.items()}) }")
    assert max(growth.values()) < MAX_GROWTH, growth
    for connection in idle:
        connection.close()


def reply_to(instruction: Message, number: int) -> Message:
    """Return a reply as large as a node may send: other bytes for each ``number``."""
    records = {
        f"{part}": ConfigRecord({"bytes": number.to_bytes(4, "big") * 15_000}) for part in range(12)
    }
    return Message(RecordDict(records), reply_to=instruction)


def in_the_name_of(message: Message, **metadata: object) -> Message:
    for name, value in metadata.items():
        message.metadata.__dict__[f"_{name}"] = value
    return message


def test_well_formed_messages_without_end(federation: Federation, mallory: HostileNode) -> None:
    """A member of the federation, whose every message is as Flower makes them."""
    found = federation.processes()
    serving = {part: Serving.now(found[part]) for part in PARTS}
    node = mallory.activate()
    pulled: list[Message] = []

    def asked() -> bool:
        message = mallory.pull()
        if message is not None:
            pulled.append(message)
        return bool(pulled)

    with undisturbed(federation):
        federation.wait_until(asked, "the coordinator asks the new node something")
        instruction = pulled[0]
        print(f"node {node} was sent a {instruction.metadata.message_type}")
        first = reply_to(instruction, 0)
        assert mallory.push(first, upload=True) == 200
        others = Counter(mallory.push(reply_to(instruction, n)) for n in range(1, TIMES))
        again = Counter(mallory.push(first) for _ in range(FORGERIES))
        print(f"{TIMES - 1} other replies: {dict(others)}; one again: {dict(again)}")
        assert set(others) == {200, 429}
        assert others[200] <= INITIAL_REPLIES + len(pulled)
        assert again == Counter({200: MAX_REPEATS - 1, 429: FORGERIES - MAX_REPEATS + 1})
        nodes = {int(n) for n in re.findall(r"node=(\d+) account=", federation.coordinator.said())}
        victims = sorted(nodes - {node})
        assert len(victims) == len(federation.daemons)
        forged = Counter(
            mallory.push(
                in_the_name_of(
                    reply_to(instruction, n),
                    src_node_id=SUPERLINK_NODE_ID,
                    dst_node_id=victims[n % len(victims)],
                    reply_to_message_id="",
                    message_type="train",
                )
            )
            for n in range(FORGERIES)
        )
        stolen = mallory.push(in_the_name_of(reply_to(instruction, 2), src_node_id=victims[0]))
        print(f"instructions to others: {dict(forged)}; a reply in another's name: {stolen}")
        assert (forged, stolen) == (Counter({403: FORGERIES}), 403)
    growth = {part: one.growth() for part, one in serving.items()}
    print(f"grown by MiB: { ({part: value >> 20 for part, value in growth.items()}) }")
    assert max(growth.values()) < MAX_GROWTH, growth
    assert "more replies than this node was given instructions" in superlink_said(federation)
    assert f"node {node} sends a message of node {SUPERLINK_NODE_ID}" in superlink_said(federation)


def test_a_certificate_that_expires(federation: Federation) -> None:
    tls, service = federation.root / "tls", federation.coordinator
    pair = KeyAndCertificate((tls / "ca.key").read_bytes(), (tls / "ca.crt").read_bytes())
    ends = datetime.now(UTC) + timedelta(seconds=30)
    key = (tls / "server.key").read_bytes()
    short = make_server(pair, ["localhost", "127.0.0.1"], now=ends, days=0, key=key)
    (tls / "server.crt").write_bytes(short.certificate)
    assert service.end() == 0
    service.start()
    # connections outlive a certificate: it is looked at by whoever connects after its end
    time.sleep(max(0.0, (ends - datetime.now(UTC)).total_seconds() + 1.0))
    berlin = federation.daemons["berlin"]
    berlin.kill()
    berlin.start()
    berlin.until(lambda s: "certificate has expired" in json.dumps(s["faults"]), PATIENCE_S)
    federation.wait_until(
        lambda: "our certificate has expired" in service.said() + superlink_said(federation),
        "the coordinator knows why",
    )
    assert service.end() == 0
    service.start()
    assert service.process is not None
    assert service.process.wait(60) == 2
    assert "expired on" in service.said().splitlines()[-1]
    done = fedproof("federation", "renew", "--dir", federation.root)
    assert done.returncode == 0, done.stderr
    height = federation.height()
    service.start()
    service.until(lambda s: s["chain"], PATIENCE_S)
    federation.wait_until(lambda: everybody_since(federation, height), "a round has all three")
    federation.verify()


def everybody_since(federation: Federation, height: int) -> bool:
    """Whether the newest round is above a height and has everybody in it."""
    head = federation.reader().head()
    if head.height <= height:
        return False
    return sorted(federation.contributors(head.head_round)) == sorted(federation.daemons)
