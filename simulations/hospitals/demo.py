"""The demonstration: found, start, watch ten rounds, verify, pay, stop. Nothing is simulated.

What runs are the daemons that an organisation would run, over TLS, with keys and folders of their
own. Only the machine is one and the same.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from coordinator.founding.create import Founded
from coordinator.founding.templates import Reach
from coordinator.protocol.amounts import ether
from coordinator.protocol.errors import ConfigError, FedproofError
from coordinator.protocol.types import Address
from coordinator.settings.participant import load_participant
from simulations.hospitals.daemons import Daemons, daemon_environment
from simulations.hospitals.data import HospitalData, load_hospitals
from simulations.hospitals.founding import FOUNDING, Ports, found_hospitals, holds_demonstration
from simulations.hospitals.screen import LiveScreen
from simulations.hospitals.view import FederationView

_LOOK_S = 0.5
_START_S = 180.0
_ROUND_S = 180.0
_FINAL_S = 120.0
_COMMAND_S = 300.0
_AT_ONCE = 4


class DemonstrationError(FedproofError):
    """The federation did not do in time what it should."""


@dataclass(frozen=True)
class Demonstration:
    """What to show, and where; ``named_by`` is what named the data folder, for messages."""

    out: Path
    rounds: int = 10
    data_folder: Path | None = None
    named_by: str = "--data"
    fresh: bool = False


def run_demonstration(wanted: Demonstration, console: Console) -> None:
    """Run all of it; what was learned stays in the folder.

    Raises
    ------
    ConfigError
        If the folder holds something else, or data are missing.
    DemonstrationError, DaemonEndedError
        If a daemon ends, or nothing happens for minutes.
    """
    out = wanted.out.absolute()
    _make_room(out, fresh=wanted.fresh)
    data = load_hospitals(wanted.data_folder, wanted.named_by)
    names = [one.name for one in data.hospitals]
    with LiveScreen(console, names, wanted.rounds) as screen:
        if wanted.data_folder is None:
            screen.say(
                "no data folder given (--data DIR or FEDPROOF_DATA, with heart-disease/ in it): "
                "taking the bundled breast-cancer data, divided among four hospitals",
                "yellow",
            )
        started = time.monotonic()
        founded = found_hospitals(data, out, wanted.rounds, Ports.free())
        _tell_founded(screen, data, founded)
        with Daemons(out, names) as daemons:
            daemons.start()
            view = _view(out, data, founded)
            _Show(screen, daemons, view, wanted.rounds, started).run()
            _verify(screen, view)
            _pay(screen, out, data, view)
            stopping = time.monotonic()
        screen.say(f"all stopped after {time.monotonic() - stopping:.1f} s")
        screen.say(f"folder  {out}")


class _Show:
    """The rounds, from the start of the daemons to the last final one."""

    def __init__(
        self,
        screen: LiveScreen,
        daemons: Daemons,
        view: FederationView,
        rounds: int,
        started: float,
    ) -> None:
        self._screen, self._daemons, self._view = screen, daemons, view
        self._rounds, self._started = rounds, started
        self._done = 0

    def run(self) -> None:
        """Show everything up to the last final round."""
        self._wait(self._view.is_up, _START_S, "the coordinator answers")
        running = self._daemons.running()
        self._screen.say(
            f"{len(running)} daemons: "
            + ", ".join(f"{name} {pid}" for name, pid in running.items())
        )
        self._screen.header()
        for number in range(1, self._rounds + 1):
            self._wait(partial(self._is_over, number), _ROUND_S, f"round {number} is over")
        self._wait(self._all_final, _FINAL_S, "every round is final")
        self._screen.say(
            f"{self._rounds} rounds final after {time.monotonic() - self._started:.0f} s, "
            "their challenge windows have passed"
        )

    def _is_over(self, number: int) -> bool:
        self._look()
        for found in self._view.rounds(self._done):
            self._screen.round_over(found)
            self._done = found.number
        return self._done >= number

    def _all_final(self) -> bool:
        self._look()
        return self._view.last_final() >= self._rounds

    def _look(self) -> None:
        seconds = time.monotonic() - self._started
        self._screen.show(self._view.phase(), self._view.hospitals(), seconds)

    def _wait(self, condition: Callable[[], bool], limit_s: float, what: str) -> None:
        end = time.monotonic() + limit_s
        while not self._tried(condition):
            self._daemons.check()
            if time.monotonic() >= end:
                raise DemonstrationError(
                    f"waited {limit_s:.0f} s in vain until {what}; the daemons' logs are beside "
                    f"{self._daemons.log('coordinator')}"
                )
            time.sleep(_LOOK_S)

    @staticmethod
    def _tried(condition: Callable[[], bool]) -> bool:
        """Return whether it holds; a service that is busy for a moment is asked again."""
        try:
            return condition()
        except OSError:
            return False
        except FedproofError as error:
            if error.exit_code in (5, 6):
                return False
            raise


def _make_room(out: Path, *, fresh: bool) -> None:
    """Delete an earlier demonstration; its file last, so that a part of one is still one."""
    if not out.exists() or not any(out.iterdir()):
        return
    if not holds_demonstration(out):
        raise ConfigError(f"--out {out}: is not empty and holds no demonstration; choose another")
    if not fresh:
        raise ConfigError(f"--out {out}: holds an earlier demonstration; --fresh deletes it first")
    for path in sorted(out.iterdir(), key=lambda entry: entry.name == FOUNDING):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _tell_founded(screen: LiveScreen, data: HospitalData, founded: Founded) -> None:
    agreement = founded.agreed.agreement
    screen.say(f"{data.title}: contract {agreement.contract} on chain {agreement.chain_id}", "bold")
    for one, entry in zip(data.hospitals, founded.participants, strict=True):
        screen.say(
            f"{one.name:<14} {entry.address}  {len(one.train_y)} patients to learn from, "
            f"{len(one.test_y)} kept out"
        )
    if founded.waiting_for:
        screen.say(founded.waiting_for, "yellow")


def _view(out: Path, data: HospitalData, founded: Founded) -> FederationView:
    names = [one.name for one in data.hospitals]
    reach = _reach_of(out / names[0])
    return FederationView(
        founded.agreed.agreement,
        reach.rpc,
        reach.store,
        out / names[0] / "ca.crt",
        data.hospitals,
        [Address(one.address) for one in founded.participants],
        [out / name / "state" / "status.json" for name in names],
    )


def _reach_of(place: Path) -> Reach:
    found = load_participant(place / "participant.toml").coordinator
    return Reach(found.rpc, found.store, found.superlink, bool(found.ca))


def _verify(screen: LiveScreen, view: FederationView) -> None:
    """Replay everything from outside: with the public URLs and the authority's certificate only."""
    command = ["verify", "--rpc", view.rpc, "--store", view.store_url]
    if view.ca_file is not None:
        command += ["--ca", str(view.ca_file)]
    _show(screen, command, _run(command))


def _pay(screen: LiveScreen, out: Path, data: HospitalData, view: FederationView) -> None:
    """Have each hospital claim what it earned, with its own key."""
    commands = [
        ["claim", "--config", str(out / one.name / "participant.toml")] for one in data.hospitals
    ]
    with ThreadPoolExecutor(_AT_ONCE) as workers:
        for command, done in zip(commands, workers.map(_run, commands), strict=True):
            _show(screen, command, done)
    for row in view.hospitals():
        screen.say(
            f"{row.name:<14} bond {ether(row.bond_wei):>8}   earned {ether(row.claimed_wei):>10}"
        )


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Run a command of ours in a process of its own."""
    try:
        return subprocess.run(
            [sys.executable, "-m", "simulations", *command],
            env=daemon_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_COMMAND_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DemonstrationError(f"fedproof {command[0]}: no end after {_COMMAND_S:g} s") from error


def _show(
    screen: LiveScreen, command: Sequence[str], done: "subprocess.CompletedProcess[str]"
) -> None:
    """Show what a command printed; raise if it failed."""
    screen.say(f"$ fedproof {' '.join(command)}", "cyan")
    for line in done.stdout.splitlines():
        screen.say(line)
    if done.returncode:
        raise DemonstrationError(f"fedproof {command[0]} ended with status {done.returncode}")
