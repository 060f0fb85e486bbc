"""Which folders are taken for a run's: those, and no other, may be written to and deleted."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from coordinator.protocol.errors import ConfigError, StoreError
from coordinator.stores.run_folder import RunFolder
from simulations.experiment.schema import Experiment
from simulations.run.files import differences, held_folder

Load = Callable[..., Experiment]
WORK = "years of work"


def hold(root: Path, experiment: Experiment, *, fresh: bool = False) -> None:
    with held_folder(RunFolder(root), experiment, fresh=fresh):
        pass


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture
def run(tmp_path: Path, experiment: Load) -> Path:
    """A folder as a killed run leaves it: some of everything."""
    root = tmp_path / "run"
    hold(root, experiment())
    for name in ("blobs/ab/cd.bin", "chain/chain.sqlite", "rounds/000001.json", "pending/x.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("old")
    (root / "metrics.jsonl").write_text("old")
    return root


@pytest.mark.parametrize(
    "files",
    [
        {"config.json": "{}", "thesis.tex": WORK},
        {"config.json": '{"format": "prettier-3"}', "thesis.tex": WORK},
        {"config.json": "[]"},
        {"config.json": "not JSON"},
        {".lock": "", "thesis.tex": WORK},
        {".lock": "1234\n"},
        {".tmp-draft": WORK},
        {".lock": "", "notes/.tmp-draft": WORK},
        {"thesis.tex": WORK},
    ],
    ids=lambda files: "+".join(files),
)
@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_of_something_else_keeps_every_byte(
    tmp_path: Path, experiment: Load, files: dict[str, str], fresh: bool
) -> None:
    for name, text in files.items():
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_text(text)
    before = contents(tmp_path / "mine")
    with pytest.raises(ConfigError, match="holds no run") as refused:
        hold(tmp_path / "mine", experiment(), fresh=fresh)
    assert ("--fresh" in str(refused.value)) == fresh
    assert contents(tmp_path / "mine") == before


@pytest.mark.parametrize("name", ["thesis.tex", ".tmp-draft", "figures/one.png"])
def test_a_run_with_something_else_in_it_is_not_deleted(
    run: Path, experiment: Load, name: str
) -> None:
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_text(WORK)
    before = contents(run)
    with pytest.raises(ConfigError, match="nothing is deleted") as refused:
        hold(run, experiment(), fresh=True)
    assert name.split("/")[0] in str(refused.value)
    assert contents(run) == before
    hold(run, experiment())  # going on with it deletes nothing either
    assert contents(run) == before


def test_fresh_deletes_a_run_of_any_configuration(run: Path, experiment: Load) -> None:
    (run / ".tmp-federation.json").write_text("half")
    hold(run, experiment(seed=9), fresh=True)
    assert sorted(p.name for p in run.iterdir()) == [".lock", "config.json", "versions.json"]
    assert json.loads((run / "config.json").read_text())["seed"] == 9


def test_a_run_in_use_is_not_deleted(run: Path, experiment: Load) -> None:
    before = contents(run)
    with (
        held_folder(RunFolder(run), experiment(), fresh=False),
        pytest.raises(StoreError, match="in use by another process"),
    ):
        hold(run, experiment(), fresh=True)
    assert contents(run) == before


@pytest.mark.parametrize("fresh", [False, True])
def test_killed_while_the_folder_was_made(tmp_path: Path, experiment: Load, fresh: bool) -> None:
    """Every state that a kill leaves, in the order in which the files appear."""
    hold(tmp_path / "whole", experiment())
    whole = contents(tmp_path / "whole")
    config, versions = whole["config.json"], whole["versions.json"]
    states: list[dict[str, bytes]] = [
        {},
        {".lock": b""},
        {".lock": b"", ".tmp-config.json": b""},
        {".lock": b"", ".tmp-config.json": config[:100]},
        {".lock": b"", "config.json": config},
        {".lock": b"", "config.json": config, ".tmp-versions.json": versions[:9]},
        whole,
        {**whole, ".tmp-federation.json": b"{"},
    ]
    for number, state in enumerate(states):
        root = tmp_path / f"killed-{number}"
        root.mkdir()
        for name, data in state.items():
            (root / name).write_bytes(data)
        hold(root, experiment(), fresh=fresh)
        found = contents(root)
        assert found["config.json"] == config
        assert {*found} == {*whole}


def test_killed_while_a_run_was_deleted(
    run: Path, experiment: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each single deletion what is left is still a run, and never a finished one."""
    (run / "SHA256SUMS").write_text("old")
    steps = len(list(run.iterdir())) - 1
    unlink, rmtree = Path.unlink, shutil.rmtree

    class Killed(BaseException):
        pass

    for survived in range(steps):
        copy = Path(shutil.copytree(run, run.with_name(f"copy-{survived}")))
        left = [survived]

        def count(path: Path, left: list[int] = left) -> None:
            if path.exists():
                if not left[0]:
                    raise Killed
                left[0] -= 1

        def counted_unlink(path: Path, missing_ok: bool = False) -> None:
            count(path)
            unlink(path, missing_ok)

        def counted_rmtree(path: Path) -> None:
            count(path)
            rmtree(path)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", counted_unlink)
            patch.setattr(shutil, "rmtree", counted_rmtree)
            with pytest.raises(Killed):
                hold(copy, experiment(), fresh=True)
        assert survived == 0 or not RunFolder(copy).is_complete
        hold(copy, experiment(), fresh=True)
        assert sorted(p.name for p in copy.iterdir()) == [".lock", "config.json", "versions.json"]


def test_a_file_in_its_place_is_named(tmp_path: Path, experiment: Load) -> None:
    (tmp_path / "file").write_text(WORK)
    for fresh in (False, True):
        with pytest.raises(StoreError, match=r"run folder .*file: Not a directory"):
            hold(tmp_path / "file", experiment(), fresh=fresh)
    assert (tmp_path / "file").read_text() == WORK


def test_another_configuration_is_told_by_the_keys_that_differ(run: Path, experiment: Load) -> None:
    with pytest.raises(ConfigError, match=r"\(seed is \d+ there, 4711 here\); choose another"):
        hold(run, experiment(seed=4711))


def test_of_many_differences_the_first_are_told() -> None:
    there = b'{"a":1,"b":{"c":"x","d":[1]},"e":1,"f":1}'
    here = b'{"a":2,"b":{"c":"y","d":[1]},"f":2,"g":3}'
    assert differences(there, here) == (
        'a is 1 there, 2 here; b.c is "x" there, "y" here; e is 1 there, not set here; and 2 more'
    )
    assert differences(b"{", here) == "config.json differs"
    assert differences(there, there) == ""
