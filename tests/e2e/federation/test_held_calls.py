"""One of Flower's calls is held, cut or repeated while a process is killed: nobody stays behind.

A participant whose SuperNode is one reply behind trains and signs every round, and is in none. Here
every round needs all three, so that nothing would be sealed again. ``FEDPROOF_FAULTS=full`` (``make
faults``) tries every call with every kill; otherwise the one that was found, and the coordinator's
side of it.
"""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from call_proxy import Action, CallProxy
from flwr.app import ConfigRecord, Message, RecordDict
from hostile_node import HostileNode
from http_asking import samples
from live_federation import FULL, Federation, live
from live_founding import set_lines

from coordinator.settings.participant import load_participant

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7_200 if FULL else 1_800)]
DURATION_S = 60
HELD_S = 6.0
VICTIM = "rome"
OTHERS = ("berlin", "paris")
CALLS = (
    "pull-messages",
    "pull-object",
    "confirm-message-received",
    "push-messages",
    "push-object",
)
ACTIONS: tuple[Action, ...] = ("hold", "cut", "repeat")
KILLED = ("serverapp", "superlink", f"supernode of {VICTIM}")


@dataclass
class Linked:
    """A federation, and the proxy between one of its SuperNodes and the SuperLink."""

    federation: Federation
    proxy: CallProxy

    def spoil(self, call: str, action: Action, killed: str) -> int:
        """Spoil one call around a kill; return the newest round when it is over."""
        spoiled = self.proxy.spoil(call, action)
        self.federation.wait_until(spoiled.caught.is_set, f"{call} comes")
        runs = self.runs()
        os.kill(self.federation.process(killed), signal.SIGKILL)
        time.sleep(HELD_S)
        if killed == "serverapp":
            self.federation.wait_until(lambda: self.runs() > runs, "the next run begins")
        spoiled.released.set()
        return self.federation.reader().head().last_opened

    def runs(self) -> int:
        """Return how many Flower runs the coordinator has started."""
        events = self.federation.coordinator.events()
        return sum(event["message"] == "a Flower run has started" for event in events)

    def wait_for_seal(self, after: int) -> int:
        """Wait until a round after this one is sealed, which has all three; return which."""
        reader = self.federation.reader()
        self.federation.wait_until(lambda: reader.head().head_round > after, "a round is sealed")
        return reader.head().head_round

    def out_of_step(self) -> int:
        """Return how often the victim's daemon says that its SuperNode was out of step."""
        return int(self.federation.daemons[VICTIM].status()["out_of_step"])

    def metric(self, name: str) -> float:
        """Return a metric of the coordinator."""
        return samples(self.federation.coordinator.get("/metrics").decode())[name]


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Linked]:
    federation = live(
        tmp_path_factory.mktemp("held"), duration_s=DURATION_S, min_contributors=3, pause_s=0.5
    )
    settings = federation.root / "participants" / VICTIM / "participant.toml"
    host, _, port = load_participant(settings).coordinator.superlink.rpartition(":")
    tls = federation.root / "tls"
    files = (tls / "server.crt", tls / "server.key", tls / "ca.crt")
    with CallProxy((host, int(port)), *files) as proxy:
        set_lines(settings, "coordinator", {"superlink": f'"127.0.0.1:{proxy.port}"'})
        with federation:
            federation.wait_for_rounds(1)
            yield Linked(federation, proxy)


def test_a_receipt_that_is_confirmed_after_its_run_is_over(linked: Linked) -> None:
    before = linked.out_of_step()
    newest = linked.spoil("confirm-message-received", "hold", "serverapp")
    began = time.monotonic()
    assert linked.wait_for_seal(newest - 1) <= newest + 1
    print(f"sealed {time.monotonic() - began:.0f} s after the release")
    assert linked.out_of_step() == before + 1
    said = linked.federation.daemons[VICTIM].said()
    assert "starting the SuperNode again: its replies would come one round late" in said


def test_a_node_that_is_behind_is_shown(linked: Linked) -> None:
    federation, victim = linked.federation, linked.federation.daemons[VICTIM]
    account, late = federation.address(VICTIM), "fedproof_replies_out_of_step_total"
    before = linked.metric(late)
    assert victim.end() == 0
    node = HostileNode(federation.superlink, federation.root / "tls" / "ca.crt", node_key(linked))
    number = node.activate()
    first = federation.wait_until(node.pull, "an instruction", every_s=0.5)
    node.deactivate()
    node.activate()  # as a SuperNode that was started again: it is asked again
    second = federation.wait_until(node.pull, "the same once more", every_s=0.5)
    assert first.metadata.message_id != second.metadata.message_id
    assert node.push(reply_to(first)) == 200
    shown = federation.coordinator.until(lambda s: account in s["contributors"]["out_of_step"])
    assert shown["contributors"]["out_of_step"] == [account]
    assert linked.metric(late) == before + 1
    assert linked.metric("fedproof_contributors_out_of_step") == 1
    (line,) = [
        one
        for one in federation.coordinator.events()
        if one["message"].startswith("a node answers an earlier instruction than its last")
    ]
    assert (line["node"], line["account"]) == (number, account)
    node.deactivate()
    victim.start()
    newest = federation.reader().head().last_opened
    linked.wait_for_seal(newest - 1)
    federation.coordinator.until(lambda s: not s["contributors"]["out_of_step"])
    assert linked.metric(late) == before + 1


def node_key(linked: Linked):
    """Return the file with the victim's node key."""
    folder = linked.federation.root / "participants" / VICTIM
    return folder / load_participant(folder / "participant.toml").node.key


def reply_to(instruction: Message) -> Message:
    """Return some reply."""
    return Message(RecordDict({"c": ConfigRecord({"a": 1})}), reply_to=instruction)


@pytest.mark.skipif(not FULL, reason="at full length only: make faults")
@pytest.mark.parametrize("killed", KILLED)
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("call", CALLS)
def test_every_call_around_every_kill(
    linked: Linked, call: str, action: Action, killed: str
) -> None:
    """Of the round in hand and the next one is sealed, and the one after that."""
    before, late = linked.out_of_step(), linked.metric("fedproof_replies_out_of_step_total")
    newest = linked.spoil(call, action, killed)
    began = time.monotonic()
    sealed = linked.wait_for_seal(newest - 1)
    took_s = time.monotonic() - began
    following = linked.wait_for_seal(sealed)
    behind = linked.out_of_step() - before
    late = linked.metric("fedproof_replies_out_of_step_total") - late
    print(
        f"{call} {action} {killed}: round {newest} in hand, {sealed} sealed after {took_s:.0f} s, "
        f"then {following}; out of step {behind}, seen {late:g}"
    )
    assert sealed <= newest + 1
    assert following == sealed + 1
