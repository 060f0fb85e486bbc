"""A participant that stops, or whose link is down for a minute: rounds close without it, on time.

It comes back by itself. How many rounds pass until then depends on how long rounds are: Flower's
SuperNode tries a broken connection again after up to 20 s. One federation for both.
"""

import json
import time
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from live_federation import PATIENCE_S, Federation, live, stopped
from live_founding import set_lines
from tcp_proxy import TcpProxy

from coordinator.protocol.errors import FedproofError
from coordinator.protocol.round.chain_round import ChainRound
from coordinator.protocol.types import RoundId
from coordinator.settings.participant import load_participant

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]
DURATION_S = 60
DOWN_S = 60.0


@dataclass
class Linked:
    """A federation, and the link of one of its participants."""

    federation: Federation
    superlink: TcpProxy
    http: TcpProxy


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Linked]:
    federation = live(tmp_path_factory.mktemp("absent"), duration_s=DURATION_S)
    settings = federation.root / "participants" / "rome" / "participant.toml"
    reach = load_participant(settings).coordinator
    host, _, port = reach.superlink.rpartition(":")
    http_port = urlsplit(reach.store).port
    assert http_port is not None
    with TcpProxy((host, int(port))) as superlink, TcpProxy((host, http_port)) as http:
        lines = {
            "rpc": f'"https://127.0.0.1:{http.port}/rpc"',
            "store": f'"https://127.0.0.1:{http.port}"',
            "superlink": f'"127.0.0.1:{superlink.port}"',
        }
        set_lines(settings, "coordinator", lines)
        with federation:
            federation.wait_until(lambda: all_took_part(federation), "a round has all three")
            yield Linked(federation, superlink, http)


def all_took_part(federation: Federation) -> bool:
    """Whether the newest sealed round has everybody's update: who comes late is in the next."""
    try:
        number = federation.reader().head().head_round
        return number > 0 and len(federation.contributors(number)) == len(federation.daemons)
    except (FedproofError, OSError):
        return False


def open_round(federation: Federation) -> RoundId:
    """Wait for a round that has just opened, and return its number."""
    reader = federation.reader()
    before = reader.head().last_opened

    def opened() -> RoundId | None:
        head = reader.head()
        return head.open_round if head.open_round > before else None

    found: RoundId = federation.wait_until(opened, "a round opens", every_s=0.05)
    return found


def sealed(federation: Federation, round_id: int) -> ChainRound:
    """Wait until a round is sealed."""
    reader = federation.reader()
    federation.wait_until(
        lambda: reader.round(RoundId(round_id)).sealed_at, f"round {round_id} is sealed"
    )
    return reader.round(RoundId(round_id))


def wait_until_back(federation: Federation, name: str) -> float:
    """Wait for a sealed round that opens from now on and has this participant; return seconds."""
    began = time.monotonic()
    last = federation.reader().head().last_opened

    def is_back() -> bool:
        newest = federation.reader().head().head_round
        return any(name in federation.contributors(n) for n in range(last + 1, newest + 1))

    federation.wait_until(is_back, f"{name} is back in a sealed round")
    return time.monotonic() - began


def test_one_that_is_stopped_over_the_deadline(linked: Linked) -> None:
    federation = linked.federation
    pids = [
        pid
        for part, pid in federation.processes().items()
        if part == "paris" or part.endswith(" of paris")
    ]
    assert len(pids) == 3, federation.processes()
    round_id, reply = federation.wait_for_reply("paris")
    with stopped(*pids):  # signed, and not yet uploaded
        state = sealed(federation, round_id)
    assert state.sealed_at <= state.deadline
    assert sorted(federation.contributors(round_id)) == ["berlin", "rome"]
    print(f"stopped: back in a sealed round after {wait_until_back(federation, 'paris'):.0f} s")
    assert reply.exists()  # it did sign; it came too late, and was not let in
    assert sorted(federation.contributors(round_id)) == ["berlin", "rome"]
    (refusal,) = refusals(federation, round_id)
    assert refusal in ("no-reply", "client-error")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        federation.coordinator.get(f"/blobs/{signed_update(federation, round_id)}.safetensors")


def refusals(federation: Federation, round_id: int) -> list[str]:
    """Return the codes of what was refused in a round."""
    return [
        str(event["code"])
        for event in federation.coordinator.events()
        if event["message"] == "submission refused" and event["round"] == round_id
    ]


def signed_update(federation: Federation, round_id: int) -> str:
    """Return the root of what paris signed for a round."""
    journal = (federation.daemons["paris"].state / "journal.jsonl").read_text().splitlines()
    (line,) = [json.loads(one) for one in journal if f"/{round_id}/" in one]
    return str(line["update"])


def test_one_whose_link_is_down(linked: Linked) -> None:
    federation = linked.federation
    number = open_round(federation)
    for link in (linked.superlink, linked.http):
        link.hold()
    began = time.monotonic()
    state = sealed(federation, number)
    assert state.sealed_at <= state.deadline
    time.sleep(max(0.0, DOWN_S - (time.monotonic() - began)))
    for link in (linked.superlink, linked.http):
        link.release()
    released = time.monotonic()
    back_s = wait_until_back(federation, "rome")
    print(f"link down for {released - began:.0f} s; back in {back_s:.0f} s")
    rome = federation.daemons["rome"]
    rome.until(lambda s: not s["faults"], PATIENCE_S)
    federation.verify()
