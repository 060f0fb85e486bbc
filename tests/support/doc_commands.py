"""Runs a document's commands as a reader would who copies and pastes, and compares the output.

Blocks marked ``sh`` are commands; a block marked ``text`` right after one is its output, of which
``...`` lines stand for what was left out. ``<!-- not copied: WHY -->`` before a block of commands
leaves it out; ``<!-- copied at full length: WHY -->`` does, but where everything is asked for. All
blocks share one shell. What differs between two runs (addresses, digests, numbers) is not compared:
:func:`masked`.

``python tests/support/doc_commands.py docs/operate.md`` runs one and writes the output into it.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHOWN = "/srv/fedproof"
_MARK = "@@@ block "
_BLOCK = re.compile(
    r"(?:<!-- (?P<skip>not copied|copied at full length): [^>]+ -->\n+)?"
    r"```sh\n(?P<commands>.*?)```\n"
    r"(?:\n```text\n(?P<output>.*?)```\n)?",
    re.DOTALL,
)
# The plainest shell there is: bash loses track of a child whose process id was another's before,
# which happens where a suite beside it starts thousands ("wait_for: No record of process").
_SHELL = "set -eu\n"
_END_S = 60


@dataclass(frozen=True)
class Block:
    """Commands to copy and the output that the document shows, if it shows any."""

    commands: str
    output: str | None
    line: int


def blocks_of(text: str, *, whole: bool = False) -> list[Block]:
    """Return the blocks that a reader would copy, in order; ``whole`` includes installations."""
    return [
        Block(match["commands"], match["output"], text[: match.start("commands")].count("\n") + 1)
        for match in _BLOCK.finditer(text)
        if not match["skip"] or (whole and match["skip"] != "not copied")
    ]


def run_blocks(
    blocks: list[Block], folder: Path, timeout_s: float, *, installed: bool = True
) -> tuple[int, list[str], str]:
    """Run blocks in one shell; return its status, each block's output, and all errors.

    Unless ``installed``, the blocks bring ``fedproof`` themselves.
    """
    script = _SHELL + "".join(
        f"echo '{_MARK}{number}'\n{block.commands}" for number, block in enumerate(blocks)
    )
    (folder / ".script.sh").write_text(script)
    with (folder / ".errors").open("w") as errors:
        shell = subprocess.Popen(
            ["sh", folder / ".script.sh"],
            cwd=folder,
            env=environment_of(folder, installed=installed),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        try:
            printed, _ = shell.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            _end_all(shell.pid)
            printed, _ = shell.communicate(timeout=_END_S)
        _end_all(shell.pid)
    outputs = ["" for _ in blocks]
    for part in printed.split(_MARK)[1:]:
        number, _, rest = part.partition("\n")
        outputs[int(number)] = rest.replace(str(folder), SHOWN)
    return shell.returncode, outputs, (folder / ".errors").read_text()


def _end_all(group: int) -> None:
    """End what the blocks have left running; by force what does not end."""
    until = time.monotonic() + _END_S
    try:
        os.killpg(group, signal.SIGTERM)
        while time.monotonic() < until:
            time.sleep(0.2)
            os.killpg(group, 0)
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def masked(line: str) -> str:
    """Return a line without what no two runs have in common."""
    line = re.sub(
        r"^(rounds|service|head|wallet|unclaimed|claimed)  .*", r"\1 <as it stands>", line
    )
    line = re.sub(r"\b(sealed|settled|final)\b", "<status>", line)
    line = re.sub(r"0x[0-9a-fA-F]+|\b[0-9a-f]{12,64}\b", "<hex>", line)
    line = re.sub(r"\d+(?:[.,:]\d+)*", "#", line)
    line = re.sub(r"\b(ETH|gwei|wei|s|min|h)\b", "unit", line)
    line = re.sub(r"# unit(?: # unit)+", "# unit", line)  # 1 min 10 s is 58 s a little later
    return " ".join(line.replace("─", "").split())


def missing_lines(block: Block, output: str) -> list[str]:
    """Return the lines that the document shows and ``output`` of the run lacks."""
    printed = {masked(line) for line in output.splitlines()}
    shown = (block.output or "").splitlines()
    return [
        line for line in shown if line.strip() not in ("", "...") and masked(line) not in printed
    ]


def environment_of(folder: Path, *, installed: bool = True) -> dict[str, str]:
    """Return an environment without Fedproof's settings, with ``fedproof`` if it is installed."""
    ours = ("FEDPROOF", "PYTEST", "PYTHON", "VIRTUAL_ENV")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    plain = {**kept, "COLUMNS": "110", "NO_COLOR": "1", "TZ": "UTC"}
    here = str(Path(sys.executable).parent)
    paths = [path for path in kept["PATH"].split(os.pathsep) if path != here]
    if not installed:
        return {**plain, "PATH": os.pathsep.join(paths)}
    programs = folder / ".bin"
    programs.mkdir(exist_ok=True)
    command = programs / "fedproof"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m simulations "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join([str(programs), here, *paths])
    return {**plain, "PATH": path, "PYTHONPATH": str(ROOT)}


def _rewrite(document: Path) -> int:
    text = document.read_text()
    blocks = blocks_of(text)
    with tempfile.TemporaryDirectory(prefix="fedproof-doc-") as folder:
        status, outputs, errors = run_blocks(blocks, Path(folder), 3_000)
    waiting = iter(outputs)

    def fill(match: re.Match[str]) -> str:
        if match["skip"]:
            return match[0]
        output = next(waiting)
        if match["output"] is None:
            return match[0]
        return f"```sh\n{match['commands']}```\n\n```text\n{output}```\n"

    document.write_text(_BLOCK.sub(fill, text))
    print(errors, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(_rewrite(Path(sys.argv[1])))
