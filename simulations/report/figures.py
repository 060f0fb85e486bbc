"""Figures of a run: accuracy per round; stakes and rewards per contributor.

Drawn with matplotlib's object interface on the Agg canvas, which needs no display and changes no
global state. Colours are from the Okabe-Ito palette, which colour-blind readers can distinguish.
"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from coordinator.local.files import unwritable
from coordinator.protocol.amounts import ETHER
from coordinator.protocol.types import JsonObject
from simulations.report.records import ContributorRecord, RoundRecord, metric_names

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#999999"
_DPI = 120
_MOST_BARS = 60
_MOST_LINES = 12
_COORDINATOR_INCHES = 1.6


def draw_accuracy(
    rounds: Sequence[RoundRecord], title: str, path: Path, *, claimed: bool = False
) -> None:
    """Plot test accuracy and loss against the round number; void rounds are marked.

    ``claimed`` figures are called so.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    tested = [r for r in rounds if r.test_accuracy is not None]
    numbers = [r.round for r in tested]
    accuracy = [r.test_accuracy or 0.0 for r in tested]
    kind = "claimed" if claimed else "test"
    axes.plot(numbers, accuracy, color=BLUE, marker="o", markersize=4, label=f"{kind} accuracy")
    for index, void in enumerate(r.round for r in rounds if r.status == "void"):
        axes.axvline(void, color=RED, linestyle=":", label="void round" if index == 0 else None)
    axes.set(title=title, xlabel="round", ylabel=f"{kind} accuracy", ylim=(0, 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    losses = axes.twinx()
    loss = [r.test_loss if r.test_loss is not None else float("nan") for r in tested]
    label = f"{kind} loss"
    losses.plot(numbers, loss, color=ORANGE, marker="s", markersize=3, alpha=0.8, label=label)
    losses.set(ylabel=label, ylim=(0, None))
    handles = [h for a in (axes, losses) for h in a.get_legend_handles_labels()[0]]
    labels = [text for a in (axes, losses) for text in a.get_legend_handles_labels()[1]]
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    _save(figure, path)


def draw_metrics(rounds: Sequence[RoundRecord], title: str, path: Path) -> None:
    """Plot every value of the metrics against the round number, the first twelve by name.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    names = metric_names(rounds)
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    measured = [r for r in rounds if r.metrics]
    numbers = [r.round for r in measured]
    for name in names[:_MOST_LINES]:
        values = [(r.metrics or {}).get(name) for r in measured]
        line = [float("nan") if value is None else value for value in values]
        # A name may come from a data set: it is no mathematics, and is shown though it begins "_".
        label = " " + name.replace("$", r"\$")
        axes.plot(numbers, line, marker="o", markersize=3, label=label)
    axes.set(title=title.replace("$", r"\$"), xlabel="round")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    more = f"first {_MOST_LINES} of {len(names)}" if len(names) > _MOST_LINES else None
    figure.legend(title=more, fontsize=8, loc="outside right upper", frameon=False)
    _save(figure, path)


def draw_money(
    people: Sequence[ContributorRecord], coordinator: JsonObject, title: str, path: Path
) -> None:
    """Plot each contributor's bond and rewards in ether; slashed bonds are marked.

    A coordinator that was convicted has a row of its own above them, on its own scale.

    Parameters
    ----------
    coordinator
        The contents of ``coordinator.json``.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    shown = people[:_MOST_BARS]
    convicted = bool(coordinator["convictions"])
    height = max(3.0, 0.32 * len(shown) + 1.6) + (_COORDINATOR_INCHES if convicted else 0.0)
    figure = Figure(figsize=(8.5, height), layout="constrained")
    below: Figure | SubFigure = figure
    if convicted:
        ratios = [_COORDINATOR_INCHES, height - _COORDINATOR_INCHES]
        above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=ratios)[:, 0]
        _draw_coordinator(above, coordinator)
    stakes, rewards = below.subplots(1, 2, sharey=True)
    rows = list(range(len(shown)))
    _bars(
        stakes,
        rows,
        [p.stake_wei for p in shown],
        [RED if p.slashed_wei else GREY for p in shown],
        "bond at the end (ETH)",
    )
    for row, person in zip(rows, shown, strict=True):
        if person.slashed_wei:
            stakes.text(0.02, row, " slashed", va="center", color=RED, fontsize=8)
    _bars(
        rewards,
        rows,
        [p.earned_wei for p in shown],
        [GREEN if p.behaviour in ("", "honest") else ORANGE for p in shown],
        "earned (ETH); orange: misbehaves" if any(p.behaviour for p in shown) else "earned (ETH)",
    )
    stakes.set_yticks(rows, [f"{p.label} {p.behaviour}".rstrip() for p in shown], fontsize=8)
    stakes.invert_yaxis()
    more = f" (first {_MOST_BARS} of {len(people)})" if len(people) > _MOST_BARS else ""
    figure.suptitle(title + more)
    _save(figure, path)


def _draw_coordinator(figure: SubFigure, coordinator: JsonObject) -> None:
    """Plot what is left of a convicted coordinator's bond, and beside it what was slashed."""
    slashed = sum(int(one["slashed_wei"]) for one in coordinator["convictions"]) / ETHER
    left = int(coordinator["bond_wei"]) / ETHER
    axes = figure.subplots()
    axes.barh([0], [left], color=GREY, height=0.6, label=f"bond at the end: {left:g} ETH")
    axes.barh(
        [0],
        [slashed],
        left=left,
        color=RED,
        height=0.6,
        label=f"slashed: {slashed:g} ETH",
    )
    axes.set_yticks([0], ["coordinator"], fontsize=8)
    axes.set(ylim=(-0.6, 0.6), xlabel="bond of the coordinator (ETH)")
    axes.set_xlim(left=0)
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)


def _bars(
    axes: Axes, rows: Sequence[int], wei: Sequence[int], colours: Sequence[str], label: str
) -> None:
    axes.barh(rows, [amount / ETHER for amount in wei], color=list(colours), height=0.7)
    axes.set(xlabel=label)
    axes.set_xlim(left=0)
    axes.grid(axis="x", alpha=0.3)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=_DPI)
    except OSError as error:
        raise unwritable(path, error) from error
