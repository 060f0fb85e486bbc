"""What the demonstration shows: the same lines on a terminal and in a file, once each."""

import io

from rich.console import Console

from coordinator.protocol.round.evaluation import EvaluationSummary, Spread
from coordinator.protocol.types import RoundId
from simulations.hospitals.screen import LiveScreen
from simulations.hospitals.view import HospitalView, RoundView

ETHER = 10**18
NAMES = ["cleveland", "zurich-basel"]
FIRST = RoundView(1, "settled", 2, ETHER, bytes.fromhex("ab" * 32), (0.75, 0.5), 0.661)
CLAIMED = EvaluationSummary(
    RoundId(1), bytes(32), 2, 1, 9, {"no-reply": 1}, {"accuracy": Spread(0.661, 0.7, 0.5, 1.0)}
)
VOID = RoundView(2, "void", 0, 0, bytes(32), (), 0.0)


def hospital(name: str, *, online: bool, bond: int) -> HospitalView:
    return HospitalView(name, "training", online, 3, bond, 0)


def shown(*, terminal: bool) -> str:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=120, highlight=False)
    with LiveScreen(console, NAMES, 2) as screen:
        screen.header()
        screen.show("waiting", [hospital(n, online=False, bond=0) for n in NAMES], 1.0)
        for _ in range(3):
            screen.show("training", [hospital(n, online=True, bond=ETHER) for n in NAMES], 2.0)
        screen.round_over(FIRST)
        for _ in range(2):
            screen.evaluated(CLAIMED)
        screen.round_over(VOID)
    return text.getvalue()


def test_a_file_gets_each_change_once() -> None:
    lines = shown(terminal=False).splitlines()
    assert [line for line in lines if line.startswith("cleveland")] == [
        "cleveland: not online, bond 0 wei",
        "cleveland: online, bond 1 ETH",
    ]
    (first,) = [line for line in lines if line.startswith(" 1/2")]
    assert first.split() == ["1/2", "2", "1", "ETH", "66.1%", "75.0%", "50.0%", "abababababab"]
    assert [line.split() for line in lines if line.startswith(" 2/2")] == [["2/2", "void"]]
    assert lines.count("round 1: accuracy 66.1%, claimed by 1 of 2 hospitals") == 1
    assert "\x1b" not in "".join(lines)


def test_columns_are_under_their_heads() -> None:
    lines = shown(terminal=False).splitlines()
    head = next(line for line in lines if line.startswith("round"))
    row = next(line for line in lines if line.startswith(" 1/2"))
    for name, share in zip(NAMES, ("75.0%", "50.0%"), strict=True):
        assert head.index(name) + len(name) == row.index(share) + len(share)
    assert head.index("right of all") + len("right of all") == row.index("66.1%") + len("66.1%")
    assert head.index("model") == row.index("abababababab")


def test_a_terminal_gets_a_table_that_is_gone_at_the_end() -> None:
    text = shown(terminal=True)
    assert "coordinator: training" in text
    assert text.count("1/2") == 1
    assert "\x1b[" in text
    assert "cleveland: online" not in text
