"""The examples of docs/api.md, run in order in a folder of their own."""

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PLAIN_APP = ROOT / "tests" / "e2e" / "flower" / "plain_app"


@pytest.mark.slow
def test_the_examples_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(PLAIN_APP)
    failed, tried = doctest.testfile(
        str(ROOT / "docs" / "api.md"), module_relative=False, optionflags=doctest.ELLIPSIS
    )
    assert failed == 0
    assert tried > 20


def test_an_unguarded_call_is_refused_by_the_worker_that_reaches_it(tmp_path: Path) -> None:
    """Without the guard every worker would begin the run that it is to work for."""
    script = tmp_path / "unguarded.py"
    script.write_text(
        "import multiprocessing, fedproof\n"
        "def work(): pass\n"
        "try:\n"
        "    fedproof.simulate({'rounds': 0})\n"
        "except fedproof.ConfigError as error:\n"
        "    print(error, flush=True)\n"
        "if __name__ == '__main__':\n"
        "    process = multiprocessing.get_context('spawn').Process(target=work)\n"
        "    process.start()\n"
        "    process.join()\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    ours, workers = done.stdout.splitlines()
    assert "rounds" in ours
    assert 'expected the call under if __name__ == "__main__":' in workers
