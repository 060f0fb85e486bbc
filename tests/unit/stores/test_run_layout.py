"""What may lie in a run's folder, and where; nothing is opened or followed to find out."""

import os
from pathlib import Path

import pytest

from coordinator.stores.run_layout import entries, is_covered, misplaced, round_of

BLOB = "blobs/ab/ab" + "0" * 62


def put(root: Path, name: str, data: bytes = b"") -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(data)


def test_all_that_a_run_writes_is_in_its_place(tmp_path: Path) -> None:
    names = ["config.json", "metrics.csv", ".lock", "SHA256SUMS", "report.md", "plots/a.png"]
    names += ["chain/chain.sqlite", "rounds/000001.json", "rounds/1234567.json"]
    names += ["attempts/000003.json", f"{BLOB}.safetensors", f"{BLOB}.bin", f"{BLOB}.rule.json"]
    names += [f"withheld/{BLOB[6:]}.safetensors"]
    for name in names:
        put(tmp_path, name)
    assert list(misplaced(entries(tmp_path), finished=True)) == []
    covered = {entry.name for entry in entries(tmp_path) if is_covered(entry)}
    assert {*names} - covered == {".lock", "SHA256SUMS", "report.md", "plots/a.png"}


@pytest.mark.parametrize(
    "name", [".tmp-config.json", f"{BLOB[:9]}.tmp-x", "chain/chain.sqlite-wal", "pending/2/x.json"]
)
def test_what_only_an_unfinished_run_has(tmp_path: Path, name: str) -> None:
    put(tmp_path, name)
    (tmp_path / "rounds").mkdir()
    assert list(misplaced(entries(tmp_path), finished=False)) == []
    assert {wrong for wrong, _ in misplaced(entries(tmp_path), finished=True)} >= {name, "rounds"}


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "run"
    put(outside, "secret")
    root.mkdir()
    (root / "blobs").symlink_to(outside)
    (root / "config.json").symlink_to(outside / "secret")
    os.mkfifo(root / "metrics.csv")
    assert dict(misplaced(entries(root), finished=False)) == {
        "blobs": "a symbolic link, expected a regular file",
        "config.json": "a symbolic link, expected a regular file",
        "metrics.csv": "a named pipe, expected a regular file",
    }
    assert not any(is_covered(entry) for entry in entries(root))


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("rounds/000012.json", 12),
        ("attempts/000003.json", 3),
        ("blobs/00/000012.json", None),
        ("rounds/x/000012.json", None),
        ("rounds/²", None),
        ("config.json", None),
    ],
)
def test_the_round_of_a_note(name: str, number: int | None) -> None:
    assert round_of(name) == number
