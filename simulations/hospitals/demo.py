"""The demonstration: found a federation, start it, show ten rounds, verify, pay, stop.

Nothing is simulated: these are the daemons that an organisation would run, over TLS, each with its
own keys and folder, but all on one machine.
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
    """The federation did not reach an expected state in time."""


@dataclass(frozen=True)
class Demonstration:
    """Options of the demonstration; ``named_by`` is the source of ``data_folder``, for messages."""

    out: Path
    rounds: int = 10
    data_folder: Path | None = None
    named_by: str = "--data"
    fresh: bool = False


def run_demonstration(options: Demonstration, console: Console) -> None:
    """Run the demonstration; its results stay in the folder.

    Raises
    ------
    ConfigError
        If the folder holds something else, or data are missing.
    DemonstrationError, DaemonEndedError
        If a daemon ends, or an expected state is not reached for minutes.
    """
    out = options.out.absolute()
    _make_room(out, fresh=options.fresh)
    data = load_hospitals(options.data_folder, options.named_by)
    names = [hospital.name for hospital in data.hospitals]
    with LiveScreen(console, names, options.rounds) as screen:
        if options.data_folder is None:
            screen.say(
                "no data folder given (--data DIR or FEDPROOF_DATA, with heart-disease/ in it): "
                "taking the bundled breast-cancer data, divided among four hospitals",
                "yellow",
            )
        started = time.monotonic()
        founded = found_hospitals(data, out, options.rounds, Ports.free())
        _tell_founded(screen, data, founded)
        with Daemons(out, names) as daemons:
            daemons.start()
            view = _view(out, data, founded)
            _Show(screen, daemons, view, options.rounds, started).run()
            _verify(screen, view)
            _pay(screen, out, data, view, started)
            stopping = time.monotonic()
        screen.say(f"all stopped after {time.monotonic() - stopping:.1f} s")
        screen.say(f"folder  {out}")


class _Show:
    """Shows the rounds, from the start of the daemons to the last final one."""

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
        for round_view in self._view.rounds(self._done):
            self._screen.round_over(round_view)
            self._done = round_view.number
        return self._done >= number

    def _all_final(self) -> bool:
        self._look()
        return self._view.last_final() >= self._rounds

    def _look(self) -> None:
        seconds = time.monotonic() - self._started
        self._screen.show(self._view.phase(), self._view.hospitals(), seconds)
        if (summary := self._view.evaluation()) is not None:
            self._screen.evaluated(summary)

    def _wait(self, condition: Callable[[], bool], limit_s: float, event: str) -> None:
        end = time.monotonic() + limit_s
        while not self._tried(condition):
            self._daemons.check()
            if time.monotonic() >= end:
                raise DemonstrationError(
                    f"waited {limit_s:.0f} s in vain until {event}; the daemons' logs are beside "
                    f"{self._daemons.log('coordinator')}"
                )
            time.sleep(_LOOK_S)

    @staticmethod
    def _tried(condition: Callable[[], bool]) -> bool:
        """Return whether the condition holds; false if the service does not answer now."""
        try:
            return condition()
        except OSError:
            return False
        except FedproofError as error:
            if error.exit_code in (5, 6):
                return False
            raise


def _make_room(out: Path, *, fresh: bool) -> None:
    """Delete an earlier demonstration, its founding file last, so that the rest is recognised."""
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
    for hospital, entry in zip(data.hospitals, founded.participants, strict=True):
        screen.say(
            f"{hospital.name:<14} {entry.address}  {len(hospital.train_y)} patients to learn from, "
            f"{len(hospital.test_y)} kept out"
        )
    if founded.waiting_for:
        screen.say(founded.waiting_for, "yellow")


def _view(out: Path, data: HospitalData, founded: Founded) -> FederationView:
    names = [item.name for item in data.hospitals]
    reach = _reach_of(out / names[0])
    return FederationView(
        founded.agreed.agreement,
        reach.rpc,
        reach.store,
        out / names[0] / "ca.crt",
        data.hospitals,
        [Address(item.address) for item in founded.participants],
        [out / name / "state" / "status.json" for name in names],
    )


def _reach_of(place: Path) -> Reach:
    coordinator = load_participant(place / "participant.toml").coordinator
    return Reach(coordinator.rpc, coordinator.store, coordinator.superlink, bool(coordinator.ca))


def _verify(screen: LiveScreen, view: FederationView) -> None:
    """Verify all rounds with only the public URLs and the authority's certificate."""
    command = ["verify", "--rpc", view.rpc, "--store", view.store_url]
    if view.ca_file is not None:
        command += ["--ca", str(view.ca_file)]
    _show(screen, command, _run(command))


def _pay(
    screen: LiveScreen, out: Path, data: HospitalData, view: FederationView, started: float
) -> None:
    """Run each hospital's claim of its rewards, with its own key."""
    commands = [
        ["claim", "--config", str(out / hospital.name / "participant.toml")]
        for hospital in data.hospitals
    ]
    with ThreadPoolExecutor(_AT_ONCE) as workers:
        for command, done in zip(commands, workers.map(_run, commands), strict=True):
            _show(screen, command, done)
    rows = view.hospitals()
    screen.show("rewards claimed", rows, time.monotonic() - started)  # the last frame
    for row in rows:
        screen.say(
            f"{row.name:<14} bond {ether(row.bond_wei):>8}   earned {ether(row.claimed_wei):>10}"
        )


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Run a ``fedproof`` command in its own process."""
    try:
        return subprocess.run(
            [sys.executable, "-P", "-m", "simulations", *command],
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
    """Show a command's output; raise if it failed."""
    screen.say(f"$ fedproof {' '.join(command)}", "cyan")
    for line in done.stdout.splitlines():
        screen.say(line)
    if done.returncode:
        raise DemonstrationError(f"fedproof {command[0]} ended with status {done.returncode}")
