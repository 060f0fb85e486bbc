"""Shows the progress of a run: one line per round, and a bar."""

from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from coordinator.commands.output import short
from coordinator.protocol.amounts import ether
from coordinator.protocol.round.events import RoundOpened, UpdateAccepted, UpdateRefused
from coordinator.protocol.round.feed import FeedItem
from simulations.report.records import RoundRecord, RoundRecorded

REASONS_SHOWN = 3
"""Number of a round's refusals that are shown in full."""


class Listener(Protocol):
    """Receives the steps of a run."""

    def say(self, text: str) -> None:
        """Take a sentence about the set-up or the end."""

    def observe(self, item: FeedItem) -> None:
        """Take an item of the rounds' feed."""


class Silence:
    """A listener for tests and scripts."""

    def say(self, text: str) -> None:
        """Ignore."""

    def observe(self, item: FeedItem) -> None:
        """Ignore."""


class Screen:
    """A listener that draws on a terminal, or prints plain lines without one.

    Parameters
    ----------
    console
        Where to.
    rounds
        How many the run has.
    cohort
        How many contributors a round asks.
    heading
        Printed with the first line or the first round, so not before a run is accepted.
    """

    def __init__(self, console: Console, rounds: int, cohort: int, heading: str = "") -> None:
        self._heading = heading
        self._console = console
        self._rounds, self._cohort = rounds, cohort
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("updates"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=None)

    def __enter__(self) -> "Screen":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Print a line."""
        self._begin()
        self._console.print(text)

    def _begin(self) -> None:
        if self._heading:
            self._console.print(self._heading)
            self._heading = ""

    def observe(self, item: FeedItem) -> None:
        """Draw a round's bar, then print its line; to be subscribed to the rounds' feed."""
        match item.event:
            case RoundOpened():
                self._begin()
                name = f"round {item.round_id}/{self._rounds}"
                self._progress.reset(self._task, description=name, total=self._cohort)
            case UpdateAccepted() | UpdateRefused():
                self._progress.advance(self._task)
            case RoundRecorded(record, reasons):
                self._begin()
                self._print_round(record, reasons)
            case _:
                pass

    def _print_round(self, record: RoundRecord, reasons: Sequence[str]) -> None:
        self._console.print(round_line(record, self._rounds), soft_wrap=True)
        for line in refused_lines(record, reasons):
            # Reasons quote texts of contributors, which must not be read as markup.
            self._console.print(line, style="yellow", markup=False, soft_wrap=True)


def refused_lines(record: RoundRecord, reasons: Sequence[str]) -> list[str]:
    """Return the number of refusals by code, then the first reasons in full, each once."""
    if not record.refusals:
        return []
    counts = ", ".join(f"{n} {code}" for code, n in sorted(record.refusals.items()))
    lines = [f"          refused: {counts}"]
    counted = list(Counter(reasons).items())
    for reason, times in counted[:REASONS_SHOWN]:
        lines.append(f"          {reason}" + (f" ({times} times)" if times > 1 else ""))
    if (more := len(counted) - REASONS_SHOWN) > 0:
        lines.append(f"          and {more} more: rounds/{record.round:06d}.json")
    return lines


def round_line(record: RoundRecord, rounds: int) -> str:
    """Return one line: status, contributors, accuracy, payment, model root."""
    head = f"round {record.round:>3}/{rounds}"
    if record.status == "void":
        return f"{head}  [red]void[/red]: {escape(record.reason)}"
    accuracy = "  -  " if record.test_accuracy is None else f"{record.test_accuracy:5.1%}"
    return (
        f"{head} {record.contributors:>4} updates  {accuracy}  "
        f"stake {ether(record.stake_wei):>7}  paid {ether(record.paid_wei):>7}  "
        f"model {short(record.model_root)}"
    )


def earnings_table(rows: Sequence[tuple[str, str, int, int, int]]) -> str:
    """Return a plain table of (client, behaviour, bond, slashed, earned) in wei."""
    # A kind from outside the package, or a site's name, may be long.
    names = max([14, *(2 + len(row[0]) for row in rows)])
    kinds = max([14, *(2 + len(row[1]) for row in rows)])
    head = f"{'client':<{names}}{'behaviour':<{kinds}}{'bond':>12}{'slashed':>12}{'earned':>14}"
    lines = [head]
    for client, behaviour, bond, slashed, earned in rows:
        lines.append(
            f"{client:<{names}}{behaviour:<{kinds}}"
            f"{ether(bond):>12}{ether(slashed):>12}{ether(earned):>14}"
        )
    return "\n".join(lines)
