"""Compiles ``faults.c``, and returns the environments that inject its faults into a process."""

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
    """Return the environment of a process whose clock is off by ``seconds``."""
    return {"LD_PRELOAD": str(library), "FAULT_CLOCK_S": str(seconds)}


def sync_fault(library: Path, trigger: Path) -> dict[str, str]:
    """Return the environment of a process whose next sync fails once ``trigger`` exists."""
    return {"LD_PRELOAD": str(library), "FAULT_SYNC": str(trigger)}
