"""Finds the data sets that are not bundled, and skips tests where they are missing."""

import os
from pathlib import Path

import pytest

NAMED = "FEDPROOF_DATA"
REQUIRED = "FEDPROOF_REQUIRE_DATA"
NEARBY = Path(__file__).parents[3] / "shared" / "data"


def real_data_folder() -> Path:
    """Return ``FEDPROOF_DATA``, else ``shared/data`` beside the repository.

    If ``heart-disease/`` is missing there, the test is skipped with the reason, or fails if
    ``FEDPROOF_REQUIRE_DATA`` is set.
    """
    folder = real_data_if_any()
    if folder is not None:
        return folder
    why = f"no real data: {_named()}/heart-disease is missing (set {NAMED})"
    if os.environ.get(REQUIRED):
        pytest.fail(f"{REQUIRED} is set, but {why}")
    pytest.skip(why)


def real_data_if_any() -> Path | None:
    """Return the same folder, ``None`` if ``heart-disease/`` is missing."""
    folder = _named()
    return folder if (folder / "heart-disease").is_dir() else None


def _named() -> Path:
    return Path(os.environ.get(NAMED) or NEARBY)
