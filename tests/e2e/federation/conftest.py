"""The longest files first, so that no worker is left alone with one at the end."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
LONGEST_FIRST = (
    "test_operate_doc.py",
    "test_disk_and_clock.py",
    "test_absent_participants.py",
    "test_hospitals.py",
    "test_service_life.py",
    "test_promises.py",
    "test_held_calls.py",
    "test_kills.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put these files in order; ``--no-loadscope-reorder`` keeps it when they are given out."""

    def place(item: pytest.Item) -> int:
        name = item.path.name
        known = item.path.parent == HERE and name in LONGEST_FIRST
        return LONGEST_FIRST.index(name) if known else len(LONGEST_FIRST)

    items.sort(key=place)
