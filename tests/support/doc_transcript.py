"""Writes the output of a document's transcripts anew: blocks whose commands begin with ``$``.

``python tests/support/doc_transcript.py docs/walkthrough.md README.md``. All blocks of a document
share one folder and one shell. ``DATA`` in a command stands for the folder in ``FEDPROOF_DATA``.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from doc_commands import environment_of

_BLOCK = re.compile(r"^```\n(\$ .*?)^```\n", re.DOTALL | re.MULTILINE)
_MARK = "@@@ command"


def commands_of(block: str) -> list[str]:
    """Return the commands of a transcript, each with the lines that belong to it."""
    commands: list[str] = []
    until: str | None = None
    for line in block.splitlines():
        if until is not None:
            commands[-1] += "\n" + line
            until = None if line == until else until
        elif line.startswith("$ "):
            commands.append(line[2:])
            heredoc = re.search(r"<<'?(\w+)'?$", line)
            until = heredoc[1] if heredoc else None
        elif commands and commands[-1].endswith("\\"):
            commands[-1] += "\n" + line
    return commands


def run_all(commands: list[str], folder: Path) -> list[str]:
    """Run commands in one shell; return what each printed, errors too."""
    data = os.environ.get("FEDPROOF_DATA", "DATA")
    script = "exec 2>&1\n"
    for command in commands:
        typed = re.sub(r"\bDATA\b", data, command)
        script += f"echo '{_MARK}'\n{typed}\n"
    (folder / ".script.sh").write_text(script)
    shell = subprocess.run(
        ["bash", folder / ".script.sh"],
        cwd=folder,
        env=environment_of(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    outputs = shell.stdout.split(f"{_MARK}\n")[1:]
    assert len(outputs) == len(commands), shell.stdout + shell.stderr
    return [output.replace(data, "DATA").replace(str(folder) + "/", "") for output in outputs]


def rewritten(document: Path) -> str:
    """Return a document with what its commands print now."""
    text = document.read_text()
    blocks = [commands_of(block) for block in _BLOCK.findall(text)]
    with tempfile.TemporaryDirectory(prefix="fedproof-doc-") as folder:
        outputs = iter(run_all([c for block in blocks for c in block], Path(folder)))
        waiting = iter(blocks)

        def fill(_found: re.Match[str]) -> str:
            parts = [f"$ {command}\n{next(outputs)}" for command in next(waiting)]
            return "```\n" + "".join(parts) + "```\n"

        result = _BLOCK.sub(fill, text)
        runs = Path(folder) / "runs"
        for picture in re.findall(r"\]\(img/(\w+)_(accuracy|stakes_rewards)\.png\)", text):
            drawn = runs / picture[0] / "plots" / f"{picture[1]}.png"
            (document.parent / "img" / f"{'_'.join(picture)}.png").write_bytes(drawn.read_bytes())
    return result


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(rewritten(Path(name)))
