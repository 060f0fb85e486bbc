"""The process that workers are forked from: it ends with its owner, and its failures are told."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]
UNGUARDED = """
import sys
from simulations.engines.process import PoolGrid

if __name__ != "__main__":
    raise RuntimeError("the script's own error")
nodes = {2: {"client": 0}}
with PoolGrid("flower_bench:misbehaving_app", nodes, workers=9, preload=()) as grid:
    assert len(grid.worker_process_ids) == 1  # no more than clients
    grid.wait_until_ready()
"""


def run(arguments: list[str], folder: Path, timeout_s: float) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "support", folder)))
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        env=os.environ | {"PYTHONPATH": path},
    )


def test_who_reads_the_output_does_not_wait_for_a_server_that_still_imports(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(3600)\n")
    code = "from simulations.engines.fork_server import start_server; start_server(['slow'])"
    done = run(["-c", f"{code}; print('ended')"], tmp_path, 60)
    assert (done.returncode, done.stdout) == (0, "ended\n")


def test_a_script_that_workers_cannot_import_is_named_with_what_to_do(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(UNGUARDED)
    done = run([str(script)], tmp_path, 120)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.endswith(
        f"; its own error is above, on standard error; each worker imports {script}: "
        'what starts a run there belongs under if __name__ == "__main__":'
    )
    assert "the script's own error" in done.stderr
