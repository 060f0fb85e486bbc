"""docs/operate.md, followed literally: every block copied and pasted, in order, in one shell."""

import shlex
import socket
import subprocess
from pathlib import Path

import pytest
from doc_commands import ROOT, blocks_of, masked, missing_lines, run_blocks
from live_federation import FULL

DOCUMENT = Path(__file__).parents[3] / "docs" / "operate.md"
PORTS = (8700, 9092)


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def older_clone(repository: Path) -> str:
    """Clone this repository as it was a commit ago; return the command that brings the newest."""
    git = ("git", "-C", str(ROOT))
    subprocess.run((*git, "clone", "--quiet", "--bare", ".", str(repository)), check=True)
    newest = subprocess.check_output((*git, "rev-parse", "HEAD"), text=True).strip()
    branch = ("git", "-C", str(repository), "update-ref", "HEAD")
    subprocess.run((*branch, f"{newest}~1"), check=True)
    return shlex.join((*branch, newest))


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_the_page_can_be_followed_by_copy_and_paste(tmp_path: Path) -> None:
    taken = [port for port in PORTS if is_taken(port)]
    if taken:
        pytest.skip(f"the page uses ports {PORTS}, and {taken} are taken on this machine")
    text, upgrade = DOCUMENT.read_text(), ""
    if FULL:
        repository = tmp_path / ".repository.git"
        upgrade = older_clone(repository)
        text = text.replace("git clone REPOSITORY", f"git clone {repository}")
        text = text.replace("git -C fedproof pull\n", f"{upgrade}\ngit -C fedproof pull\n")
    blocks = blocks_of(text, whole=FULL)
    assert len(blocks) >= 15
    assert upgrade in "".join(block.commands for block in blocks)
    status, outputs, errors = run_blocks(blocks, tmp_path, timeout_s=3_400, installed=not FULL)
    reached = max(number for number, output in enumerate(outputs) if output or number == 0)
    where = f"stopped after the block in line {blocks[reached].line}\n{errors}\n"
    logs = "".join(f"{log.name}: {log.read_text()[-1500:]}\n" for log in tmp_path.glob("*.log"))
    assert status == 0, where + outputs[reached] + logs
    wrong = {
        block.line: missing
        for block, output in zip(blocks, outputs, strict=True)
        if (missing := missing_lines(block, output))
    }
    assert wrong == {}, outputs
    assert "Traceback" not in errors
    assert not [port for port in PORTS if is_taken(port)], "a daemon was left behind"


def test_blocks_are_found_and_output_is_compared_without_what_varies() -> None:
    text = (
        "words\n```sh\na\nb\n```\n\n```text\nround 12 paid 0.5 ETH 0xAb12\n...\n```\n"
        "<!-- not copied: root -->\n```sh\nc\n```\n\n```sh\nd\n```\n"
        "<!-- copied at full length: slow -->\n```sh\ne\n```\n"
    )
    first, second = blocks_of(text)
    assert (first.commands, first.output, first.line) == (
        "a\nb\n",
        "round 12 paid 0.5 ETH 0xAb12\n...\n",
        3,
    )
    assert (second.commands, second.output) == ("d\n", None)
    assert [block.commands for block in blocks_of(text, whole=True)] == ["a\nb\n", "d\n", "e\n"]
    assert missing_lines(first, "x\nround 7 paid 2.25 ETH 0xFF\n") == []
    assert missing_lines(first, "round 7 lost 2.25 ETH 0xFF\n") == ["round 12 paid 0.5 ETH 0xAb12"]
    assert masked("model 00cfed479fe0 at 08:15:01") == "model <hex> at #"
    assert masked("free in 1 min 10 s, 2026") == masked("free in 58 s, 2027")
