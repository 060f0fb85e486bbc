"""Finds the run that a command is given, by its folder or by its name in ``runs/``."""

from pathlib import Path
from typing import Final

from coordinator.protocol.errors import ConfigError

RUNS: Final = Path("runs")
"""Folder in which ``fedproof simulate`` creates a run without ``--out``."""


def run_folder(given: Path) -> Path:
    """Return the given folder if it exists, else the one of that name in ``runs/``.

    Raises
    ------
    ConfigError
        If there is neither.
    """
    is_name = len(given.parts) == 1 and given.name
    if given.exists() or given.is_symlink():
        return given
    if is_name and (RUNS / given).is_dir():
        return RUNS / given
    nor = f", nor {RUNS / given}" if is_name else ""
    raise ConfigError(f"{given}: no such folder{nor}; expected a run's folder, or its name")
