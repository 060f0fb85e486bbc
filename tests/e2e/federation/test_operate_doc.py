"""docs/operate.md, followed literally: every block copied and pasted, in order, in one shell."""

import socket
from pathlib import Path

import pytest
from doc_commands import blocks_of, masked, missing_lines, run_blocks

DOCUMENT = Path(__file__).parents[3] / "docs" / "operate.md"
PORTS = (8700, 9092)


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_page_can_be_followed_by_copy_and_paste(tmp_path: Path) -> None:
    taken = [port for port in PORTS if is_taken(port)]
    if taken:
        pytest.skip(f"the page uses ports {PORTS}, and {taken} are taken on this machine")
    blocks = blocks_of(DOCUMENT.read_text())
    assert len(blocks) >= 15
    status, outputs, errors = run_blocks(blocks, tmp_path, timeout_s=1700)
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
    )
    first, second = blocks_of(text)
    assert (first.commands, first.output, first.line) == (
        "a\nb\n",
        "round 12 paid 0.5 ETH 0xAb12\n...\n",
        3,
    )
    assert (second.commands, second.output) == ("d\n", None)
    assert missing_lines(first, "x\nround 7 paid 2.25 ETH 0xFF\n") == []
    assert missing_lines(first, "round 7 lost 2.25 ETH 0xFF\n") == ["round 12 paid 0.5 ETH 0xAb12"]
    assert masked("model 00cfed479fe0 at 08:15:01") == "model <hex> at #"
