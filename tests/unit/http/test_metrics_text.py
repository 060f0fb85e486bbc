"""Prometheus' text format, to the letter."""

import pytest
from http_asking import samples

from coordinator.http.metrics import Exposition


def test_a_family_begins_with_meaning_and_type() -> None:
    page = Exposition()
    page.single("one", "gauge", "A number.", 3)
    page.by_label("two", "counter", "By colour.", "colour", {"red": 2, "blue": 1.5})
    assert page.text() == (
        "# HELP one A number.\n# TYPE one gauge\none 3\n"
        "# HELP two By colour.\n# TYPE two counter\n"
        'two{colour="blue"} 1.5\ntwo{colour="red"} 2\n'
    )
    assert samples(page.text()) == {"one": 3, 'two{colour="blue"}': 1.5, 'two{colour="red"}': 2}


def test_what_would_break_a_line_is_escaped() -> None:
    page = Exposition()
    page.family("x", "gauge", "A back\\slash and\na line.")
    page.sample("x", 1, why='he said "no"\n\\')
    assert page.text().splitlines() == [
        "# HELP x A back\\\\slash and\\na line.",
        "# TYPE x gauge",
        'x{why="he said \\"no\\"\\n\\\\"} 1',
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(27 * 10**18, "27000000000000000000"), (float("inf"), "+Inf"), (float("-inf"), "-Inf")],
)
def test_numbers(value: float, text: str) -> None:
    page = Exposition()
    page.sample("x", value)
    assert page.text() == f"x {text}\n"
