"""A run's folder: held by one process, whole, and its files as they were written."""

from pathlib import Path

import pytest

from coordinator.protocol.errors import StoreError
from coordinator.stores.run_folder import RunFolder
from coordinator.stores.run_layout import CHECKSUMS


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    found = RunFolder(tmp_path / "run")
    found.create()
    return found


def test_what_a_killed_process_left_half_written_is_not_part_of_the_run(folder: RunFolder):
    folder.write(folder.config, b"{}")
    folder.release()
    half_written = (folder.root / f".tmp-{CHECKSUMS}", folder.blobs / "ab" / ".tmp-abcd.json")
    for path in half_written:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    folder.create()
    folder.discard_leftovers()
    folder.write_checksums()
    assert list(folder.check_checksums()) == []
    assert not any(path.exists() for path in half_written)
    assert folder.config.read_bytes() == b"{}"


def test_leftovers_elsewhere_are_somebody_elses(folder: RunFolder):
    others = (folder.root / ".tmp-thesis.tex", folder.root / "mine" / f".tmp-{CHECKSUMS}")
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"years of work")
    folder.discard_leftovers()
    folder.clear()
    assert [path.read_bytes() for path in others] == [b"years of work"] * 2
    assert folder.foreign() == [".tmp-thesis.tex", "mine"]


def test_clearing_follows_no_link(folder: RunFolder, tmp_path: Path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "photo").write_bytes(b"precious")
    folder.blobs.symlink_to(tmp_path / "disk")
    folder.write(folder.config, b"{}")
    folder.clear()
    assert folder.names() == [".lock"]
    assert (tmp_path / "disk" / "photo").read_bytes() == b"precious"


def test_changed_missing_and_added_files_are_named(folder: RunFolder):
    for name in ("one", "two"):
        folder.write(folder.root / name, name.encode())
    folder.write_checksums()
    assert list(folder.check_checksums()) == []
    (folder.root / "one").unlink()
    (folder.root / "two").write_bytes(b"twp")
    (folder.root / "three").write_bytes(b"")
    found = dict(folder.check_checksums())
    assert found["one"] == "missing"
    assert found["two"].startswith("SHA-256 is ")
    assert found["three"] == f"not listed in {CHECKSUMS}"
    assert len(found) == 3


def test_a_second_process_is_kept_out(folder: RunFolder):
    with pytest.raises(StoreError, match="is in use by another process"):
        RunFolder(folder.root).create()
    folder.release()
    RunFolder(folder.root).create()


def test_a_reader_sees_that_a_folder_is_in_use_and_leaves_it_alone(tmp_path: Path) -> None:
    reader, folder = RunFolder(tmp_path / "run", read_only=True), RunFolder(tmp_path / "run")
    assert not reader.is_in_use()
    assert not (tmp_path / "run").exists()
    folder.create()
    (tmp_path / "run" / ".lock").chmod(0o400)
    assert reader.is_in_use()
    folder.release()
    assert not reader.is_in_use()
    folder.create()
    folder.release()
