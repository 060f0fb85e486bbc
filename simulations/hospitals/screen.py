"""Shows the running federation in a terminal, or as plain lines without one."""

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from coordinator.commands.output import short
from coordinator.protocol.amounts import ether
from coordinator.protocol.round.evaluation import ACCURACY, LOSS, EvaluationSummary
from simulations.hospitals.view import HospitalView, RoundView


class LiveScreen:
    """Prints a line for each event, above a table of the hospitals' current states."""

    def __init__(self, console: Console, hospitals: Sequence[str], rounds: int) -> None:
        self._console, self._hospitals, self._rounds = console, hospitals, rounds
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._known: dict[str, str] = {}
        self._evaluated = 0

    def __enter__(self) -> "LiveScreen":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def say(self, text: str, style: str = "") -> None:
        """Print a line."""
        self._console.print(text, style=style, markup=False, soft_wrap=True)

    def header(self) -> None:
        """Print the header of the rounds' columns."""
        names = "  ".join(f"{name[:12]:>12}" for name in self._hospitals)
        self.say(f"round   updates    paid   right of all  {names}  model", style="bold")

    def round_over(self, view: RoundView) -> None:
        """Print a round's line."""
        head = f"{view.number:>2}/{self._rounds:<4}"
        if view.status == "void":
            self.say(f"{head}  void", style="red")
            return
        shares = "  ".join(f"{share:12.1%}" for share in view.correct)
        self.say(
            f"{head} {view.contributors:>7}  {ether(view.paid_wei):>6}   {view.correct_all:12.1%}  "
            f"{shares}  {short(view.model_root.hex())}"
        )

    def evaluated(self, summary: EvaluationSummary) -> None:
        """Print what hospitals claim of a round's model, once."""
        if summary.round_id <= self._evaluated:
            return
        self._evaluated = summary.round_id
        accuracy, loss = summary.mean(ACCURACY), summary.mean(LOSS)
        self.say(
            f"round {summary.round_id}: "
            + ("" if accuracy is None else f"accuracy {accuracy:.1%}, ")
            + ("" if loss is None else f"loss {loss:.4f}, ")
            + f"claimed by {summary.answered} of {summary.asked} hospitals"
        )

    def show(self, phase: str, views: Sequence[HospitalView], seconds: float) -> None:
        """Show the hospitals' current states; without a terminal, only changes."""
        if self._console.is_terminal:
            self._live.update(_table(phase, views, seconds))
            return
        for view in views:
            word = "online" if view.online else "not online"
            if self._known.get(view.name) != word:
                self._known[view.name] = word
                self.say(f"{view.name}: {word}, bond {ether(view.bond_wei)}")


def _table(phase: str, views: Sequence[HospitalView], seconds: float) -> Table:
    table = Table(
        "hospital",
        "daemon",
        "online",
        "trained",
        "bond",
        "claimed",
        title=f"coordinator: {phase}   {seconds:.0f} s",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for view in views:
        table.add_row(
            view.name,
            view.state,
            "[green]yes[/green]" if view.online else "[yellow]no[/yellow]",
            str(view.trained),
            ether(view.bond_wei),
            ether(view.claimed_wei),
        )
    return table
