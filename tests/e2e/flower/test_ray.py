"""A local federation under Flower's own simulation, where Ray is installed (it is not pinned)."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "docs" / "examples" / "quickstart-numpy"
MAIN = """
from flwr.simulation import run_simulation
from numpyexample.client_app import app as client
from numpyexample.server_app import app as server

run_simulation(
    server_app=server,
    client_app=client,
    num_supernodes=4,
    backend_config={"client_resources": {"num_cpus": 1}},
)
"""


@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="Ray is not installed: pip install 'flwr[simulation]' to play this",
)
@pytest.mark.timeout(600)
def test_it_trains_under_ray_and_verifies(tmp_path: Path):
    shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    ceiling = {**env, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    patched = subprocess.run(["git", "apply", "verifiable.diff"], cwd=tmp_path, env=ceiling)
    assert patched.returncode == 0
    for file in (tmp_path / "numpyexample").glob("*_app.py"):  # it is given no run config
        text = file.read_text().replace('context.run_config["learning-rate"]', "0.5")
        file.write_text(text.replace('context.run_config["num-server-rounds"]', "2"))
    (tmp_path / "main.py").write_text(MAIN)
    command = [sys.executable, "main.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "aggregate_train: Accepted 4 updates and refused 0" in done.stdout + done.stderr
    verify = [sys.executable, "-m", "fedproof", "verify", "runs/quickstart-numpy"]
    verified = subprocess.run(verify, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "2 rounds hold" in verified.stdout
