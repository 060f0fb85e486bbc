"""What a run shows: a line a round, and whom it refused, why."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from coordinator.protocol.round.events import RoundOpened, UpdateRefused
from coordinator.protocol.round.feed import RoundEvaluated, RoundFeed
from coordinator.protocol.types import RoundId
from simulations.report.progress import REASONS_SHOWN, Screen, earnings_table
from simulations.report.records import RoundRecord, RoundRecorded

ETHER = 10**18
SEALED = RoundRecord(
    round=3,
    status="settled",
    reason="",
    model_root="ab" * 32,
    contributors_root="cd" * 32,
    contributors=8,
    refused=0,
    refusals={},
    examples=80,
    stake_wei=8 * ETHER,
    paid_wei=ETHER,
    train_loss=0.5,
    test_loss=0.6,
    test_accuracy=0.875,
    seconds=1.0,
)


def shown(record: RoundRecord, reasons: list[str], *, terminal: bool = False) -> list[str]:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=80, highlight=False)
    feed = RoundFeed()
    with Screen(console, 8, 10) as screen:
        feed.subscribe(screen.observe)
        feed.publish(RoundId(3), RoundOpened(deadline=9))
        feed.publish(RoundId(3), UpdateRefused("0xa", "nan", "not a number"))
        feed.publish(RoundId(3), RoundEvaluated(record.evaluated))
        feed.publish(RoundId(3), RoundRecorded(record, tuple(reasons)))
    return text.getvalue().splitlines()


def test_a_round_is_one_line() -> None:
    (line,) = shown(SEALED, [])
    told = "round 3/8 8 updates 87.5% stake 8 ETH paid 1 ETH model abababababab"
    assert " ".join(line.split()) == told


def test_the_heading_comes_with_the_first_line_and_once() -> None:
    text = io.StringIO()
    console = Console(file=text, width=80, highlight=False)
    with Screen(console, 8, 10, "tiny: 8 rounds") as screen:
        assert text.getvalue() == ""
        screen.say("one")
        screen.say("two")
    assert text.getvalue().splitlines() == ["tiny: 8 rounds", "one", "two"]


def test_the_reason_of_a_refusal_is_told_in_full_whatever_is_in_it() -> None:
    refused = replace(SEALED, refused=1, refusals={"wrong-dtype": 1})
    reason = "client 4: declared dtype: found [red]float64[/red], expected int32" + " and so on" * 9
    assert shown(refused, [reason])[1:] == [
        "          refused: 1 wrong-dtype",
        f"          {reason}",
    ]


def test_of_many_refusals_the_first_are_told_and_where_the_others_are() -> None:
    count = REASONS_SHOWN + 2
    refused = replace(SEALED, refused=count, refusals={"nan": 1, "not-bonded": count - 1})
    lines = shown(refused, [f"client {n}: no bond" for n in range(count)])
    assert lines[1] == f"          refused: 1 nan, {count - 1} not-bonded"
    assert lines[2:-1] == [f"          client {n}: no bond" for n in range(REASONS_SHOWN)]
    assert lines[-1].strip() == "and 2 more: rounds/000003.json"


def test_the_same_reason_is_told_once() -> None:
    refused = replace(SEALED, refused=3, refusals={"not-bonded": 3})
    lines = shown(refused, ["client 1: no bond", "client 2: no bond", "client 1: no bond"])
    assert [line.strip() for line in lines[2:]] == [
        "client 1: no bond (2 times)",
        "client 2: no bond",
    ]


def test_a_void_round_says_why() -> None:
    void = replace(SEALED, status="void", reason="[quorum] 2 of 5", contributors=0)
    assert shown(void, []) == ["round   3/8  void: [quorum] 2 of 5"]


@pytest.mark.parametrize("terminal", [True, False])
def test_the_bar_is_drawn_on_terminals_only(terminal: bool) -> None:
    text = "\n".join(shown(SEALED, [], terminal=terminal))
    assert ("1/10" in text) is terminal
    assert ("\x1b" in text) is terminal


def test_the_earnings_are_in_columns_whatever_a_behaviour_is_called():
    rows = [
        ("client 0", "honest", ETHER, 0, ETHER),
        ("client 1", "my_attacks:RelabelEverything", ETHER, 0, 0),
    ]
    lines = earnings_table(rows).split("\n")
    assert len({len(line) for line in lines}) == 1
    assert [line.split()[:2] for line in lines[1:]] == [["client", "0"], ["client", "1"]]
    assert lines[0].index("behaviour") == lines[1].index("honest") == lines[2].index("my_attacks")
    short = earnings_table(rows[:1]).split("\n")
    assert short[0] == "client        behaviour             bond     slashed        earned"
