"""One small finished run, made once a test process by the real command."""

from pathlib import Path

import pytest
from fedproof_command import fedproof, write_tiny


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    command = ("simulate", write_tiny(folder), "--out", folder / "run", "--workers", "1")
    done = fedproof(*command, fresh=True)
    assert done.returncode == 0, done.stderr
    return folder / "run"
