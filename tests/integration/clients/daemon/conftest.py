"""One founded federation of two, copied for each test: keys take a second each."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from flower_deployment import free_port
from participant_bench import CoordinatorStub, coordinator_stub, found_bench

NAMES = ["ada", "bob"]


@pytest.fixture(scope="session")
def _founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return found_bench(tmp_path_factory.mktemp("bench"), NAMES)


@pytest.fixture
def root(_founded: Path, tmp_path: Path) -> Path:
    """A copy of the federation's folder, on ports of its own."""
    copy = Path(shutil.copytree(_founded, tmp_path / "f"))
    old = re.search(
        r"http://127\.0\.0\.1:(\d+)", (copy / "participants/ada/participant.toml").read_text()
    )
    assert old is not None
    new = str(free_port())
    for file in [copy / "coordinator.toml", *copy.glob("participants/*/participant.toml")]:
        file.write_text(file.read_text().replace(old[1], new))
    return copy


@pytest.fixture
def stub(root: Path) -> Iterator[CoordinatorStub]:
    """Its coordinator, running in this process."""
    with coordinator_stub(root) as running:
        yield running
