"""``kill -9`` of any process at any instant: every round is sealed once, and nothing is taken back.

``FEDPROOF_FAULTS=full`` (``make faults``) is 20 kills in 30 rounds; otherwise 5 in 5, each part but
superexec once. What was killed when, and how long each part took to be back, is printed and lies in
the test's folder.
"""

import itertools
import json
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from live_federation import FULL, PATIENCE_S, Federation, live
from live_observer import Observer

from coordinator.protocol.round.chain_round import RoundStatus
from coordinator.protocol.types import RoundId

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7_200 if FULL else 1_800)]
ROUNDS, KILLS = (30, 20) if FULL else (5, 5)
PARTS = ("coordinator", "superlink", "serverapp", "daemon", "supernode", "superexec")
"""In a short run the last is left out: a ServerApp goes with it, and a ServerApp is killed too."""
SEED = 20
OWN_S = 30.0
"""No part may take longer to be back by itself. What Flower adds is measured beside it."""
DURATION_S = 300
"""A round outlasts any one kill, so that not one of them is lost to its deadline."""
LONGEST_DELAY_S = 8.0


@dataclass
class Kill:
    """One kill. ``own_s`` until the part was back, ``sealed_s`` until the next round was sealed.

    ``joined_s`` is until the participant was in a round again, where it was one.
    """

    part: str
    name: str
    at: float
    height: int
    own_s: float = 0.0
    sealed_s: float | None = None
    joined_s: float | None = None


class Killer:
    """Kills one process after another, and starts again what an operator's init would."""

    def __init__(self, federation: Federation, rng: random.Random) -> None:
        self._federation, self._rng = federation, rng
        self.kills: list[Kill] = []

    def plan(self, count: int) -> list[str]:
        """Return what to kill: every part as often as the others, in random order."""
        chosen = list(itertools.islice(itertools.cycle(PARTS), count))
        self._rng.shuffle(chosen)
        return chosen

    def kill(self, part: str) -> None:
        """Kill a part at a random instant, and wait until it is back."""
        name = self._rng.choice(sorted(self._federation.daemons))
        time.sleep(self._rng.uniform(0.0, LONGEST_DELAY_S))
        process = {"daemon": name, "supernode": f"supernode of {name}"}.get(part, part)
        pid = self._federation.process(process)
        told = Kill(part, name if part in ("daemon", "supernode") else "", time.time(), 0)
        told.height = self._federation.height()
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        back = self._start_again(part, name, pid)
        self._federation.wait_until(back, f"{process} is back", PATIENCE_S)
        told.own_s = time.monotonic() - began
        self.kills.append(told)
        print(json.dumps(asdict(told)), flush=True)

    def _start_again(self, part: str, name: str, old: int) -> Callable[[], bool]:
        federation = self._federation
        if part == "daemon":
            daemon = federation.daemons[name]
            daemon.wait()
            daemon.start()
            return lambda: self._is_ready(name)
        if part == "supernode":
            return lambda: federation.processes().get(f"supernode of {name}", old) != old
        if part == "coordinator":
            service = federation.coordinator
            assert service.process is not None
            service.process.wait()
            service.start()
        return lambda: self._drives(part, old)

    def _is_ready(self, name: str) -> bool:
        daemon = self._federation.daemons[name]
        status = daemon.status()
        assert daemon.process is not None
        return status.get("pid") == daemon.process.pid and status["state"] == "ready"

    def _drives(self, part: str, old: int) -> bool:
        """Whether the part has a new process, and a ServerApp drives rounds, or all are done."""
        status = self._federation.coordinator.status()
        if not status:
            return False
        pid = self._federation.processes().get(part, old)
        done = status["phase"] == "complete"
        if done and part == "serverapp":
            return True
        drives = status["children"].get("serverapp", "").startswith("running")
        return pid != old and (drives or done) and self._federation.superlink_listens()

    def tell(self) -> None:
        """Work out from the chain when rounds and participants went on."""
        reader = self._federation.reader()
        rounds = [reader.round(reader.round_at_height(h + 1)) for h in range(reader.head().height)]
        members = {int(r.round_id): self._federation.contributors(r.round_id) for r in rounds}
        for kill in self.kills:
            later = [r for r in rounds if r.sealed_at >= kill.at]
            kill.sealed_s = min((r.sealed_at - kill.at for r in later), default=None)
            kill.joined_s = min(
                (r.sealed_at - kill.at for r in later if kill.name in members[int(r.round_id)]),
                default=None,
            )


def test_every_round_is_sealed_once_whatever_is_killed(tmp_path: Path) -> None:
    federation = live(tmp_path, rounds=ROUNDS, duration_s=DURATION_S)
    with federation, Observer(federation) as observer:
        killer = Killer(federation, random.Random(SEED))
        federation.coordinator.until(lambda s: len(s["contributors"]["online"]) >= 2)
        for number, part in enumerate(killer.plan(KILLS)):
            federation.wait_for_rounds(number * ROUNDS // KILLS)
            killer.kill(part)
        federation.wait_for_rounds(ROUNDS)
        federation.wait_until(
            lambda: federation.reader().head().final_height == ROUNDS, "all rounds are final"
        )
        observer.check()
        killer.tell()
        kills = [asdict(kill) for kill in killer.kills]
        print(json.dumps(kills, indent=1))
        (tmp_path / "kills.json").write_text(json.dumps(kills))
        check_history(federation)
        findings = federation.verify()
        sealed = [line for line in findings["rounds"] if line["status"] == "final"]
        assert len(sealed) == ROUNDS
        assert set(federation.stop().values()) == {0}
    assert len(observer.rounds) >= ROUNDS
    if FULL:
        slow = [kill for kill in killer.kills if kill.own_s >= OWN_S]
        assert not slow, slow


def check_history(federation: Federation) -> None:
    """Every round that was opened was sealed and is final: none was void, none done twice."""
    reader = federation.reader()
    head = reader.head()
    live_rounds = [int(reader.round_at_height(height + 1)) for height in range(head.height)]
    journal = federation.root / "state" / "rounds"
    void = {*range(1, head.last_opened + 1)} - {*live_rounds}
    told = [(journal / f"{number:06}.json").read_text() for number in sorted(void)]
    assert live_rounds == [*range(1, ROUNDS + 1)], f"void: {told}\n{federation.story()}"
    assert head.last_opened == ROUNDS
    assert {reader.status(RoundId(r)) for r in live_rounds} == {RoundStatus.FINAL}
