"""Compiles ``faults.c`` and says what to put into a process's environment for its faults."""

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("faults.c")


def compile_faults(folder: Path) -> Path:
    """Return the library; the test is skipped where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler: faults of clock and disk cannot be made")
    library = folder / "faults.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, timeout=120)
    return library


def clock_off(library: Path, seconds: int) -> dict[str, str]:
    """Return the environment of a process whose time of day is off."""
    return {"LD_PRELOAD": str(library), "FAULT_CLOCK_S": str(seconds)}


def sync_fault(library: Path, trigger: Path) -> dict[str, str]:
    """Return the environment of a process whose next sync fails once ``trigger`` is there."""
    return {"LD_PRELOAD": str(library), "FAULT_SYNC": str(trigger)}
