"""The contract call that CONTRIBUTING.md adds: done as it says in a copy, compiled, and sent."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SEND = """
import json
from federation_world import CONTRIBUTORS, STRANGER, World
from contracts.binding import calls
world = World.create()
world.populate()
member = CONTRIBUTORS[0].address
before = world.federation.account(member).bond_wei
receipt = world.send(STRANGER, calls.bond_for(member, 5))
outsider = world.reason(CONTRIBUTORS[0], calls.bond_for(STRANGER.address, 5))
after = world.federation.account(member).bond_wei
(joined,) = receipt.events
print(json.dumps([before, after, outsider, receipt.gas_used, [joined.account, joined.amount]]))
"""


def blocks(language: str) -> list[str]:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    section = page.split("## Add a contract call")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def edit(file: Path, after: str, text: str) -> None:
    before = file.read_text()
    assert before.count(after) == 1, (file, after)
    file.write_text(before.replace(after, after + text))


def run(*arguments: str, tree: Path) -> str:
    paths = [tree, tree / "tests" / "support", tree / "tests" / "contracts" / "support"]
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_call_of_the_page_compiles_and_does_what_it_says(tmp_path: Path) -> None:
    for name in ("contracts", "coordinator", "tests/support", "tests/contracts"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    function, export = blocks("vyper")
    (call,) = blocks("python")
    (limit,) = re.findall(r'`("bond_for": [\d_]+,)`', (ROOT / "CONTRIBUTING.md").read_text())
    sources, binding = tmp_path / "contracts" / "src", tmp_path / "contracts" / "binding"
    stakes = sources / "stakes.vy"
    stakes.write_text(f"{stakes.read_text()}\n\n{function}")
    edit(sources / "federation.vy", "    stakes.collect,\n", export)
    edit(binding / "calls.py", '    "join": 250_000,\n', f"    {limit}\n")
    calls = binding / "calls.py"
    calls.write_text(f"{calls.read_text()}\n\n{call}")
    # Of the other contracts only the digest of the sources would change.
    assert "federation: " in run("-m", "contracts.compile", "federation", tree=tmp_path)
    before, after, outsider, gas, joined = json.loads(run("-c", SEND, tree=tmp_path))
    assert after == before + 5
    assert outsider == "stake: not a member"
    assert joined[1] == 5
    assert gas * 3 // 2 <= 250_000
