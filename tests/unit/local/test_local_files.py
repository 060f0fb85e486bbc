"""A file is complete or absent, and on the disk when the call returns, whatever fails."""

import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coordinator.local import files
from coordinator.protocol.errors import StoreError

FULL = OSError(28, "No space left on device")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which file or folder was synced, and what was renamed, in order."""
    made: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def synced(descriptor: int) -> None:
        made.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        fsync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        made.append(f"rename {path.name} {target.name}")
        return rename(path, target)

    monkeypatch.setattr("os.fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    return made


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the sync of what has this name fail, as on a full disk."""

    def at(name: str) -> None:
        fsync = os.fsync

        def full(descriptor: int) -> None:
            if Path(os.readlink(f"/proc/self/fd/{descriptor}")).name == name:
                raise FULL
            fsync(descriptor)

        monkeypatch.setattr("os.fsync", full)

    return at


def test_data_is_on_the_disk_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, calls: list[str]
) -> None:
    files.replace_file(tmp_path / "a", [b"one", memoryview(b"two")])
    assert (tmp_path / "a").read_bytes() == b"onetwo"
    assert calls == ["sync .tmp-a", "rename .tmp-a a", f"sync {tmp_path.name}"]
    calls.clear()
    files.replace_file(tmp_path / "a", [b"three"], sync=False)
    assert calls == ["rename .tmp-a a"]
    calls.clear()
    files.create_file(tmp_path / "b", [b"one"], mode=0o600)
    assert calls == ["sync b", f"sync {tmp_path.name}"]


def test_what_fails_leaves_the_earlier_file_and_nothing_else(
    tmp_path: Path, fails: Callable[[str], None]
) -> None:
    files.replace_file(tmp_path / "a", [b"one"])
    fails(".tmp-a")
    with pytest.raises(OSError, match="No space left"):
        files.replace_file(tmp_path / "a", [b"two"])
    with pytest.raises(StoreError, match=rf"^cannot write {tmp_path}/a: No space left on device$"):
        files.write_durably(tmp_path / "a", [b"two"])
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"one")]


def test_pieces_that_cannot_be_made_leave_nothing(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"one"
        raise ValueError("no more")

    for write in (
        lambda: files.replace_file(tmp_path / "a", pieces()),
        lambda: files.create_file(tmp_path / "a", pieces(), mode=0o600),
    ):
        with pytest.raises(ValueError, match="no more"):
            write()
        assert not list(tmp_path.iterdir())


def test_a_new_file_never_replaces_one(tmp_path: Path, fails: Callable[[str], None]) -> None:
    (tmp_path / "a").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        files.create_file(tmp_path / "a", [b"other"], mode=0o600)
    assert (tmp_path / "a").read_bytes() == b"mine"
    fails("b")
    with pytest.raises(OSError, match="No space left"):
        files.create_file(tmp_path / "b", [b"half"], mode=0o600)
    assert not (tmp_path / "b").exists()


def test_modes_are_exact_or_the_umasks(tmp_path: Path) -> None:
    def mode_of(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    before = os.umask(0o027)
    try:
        files.replace_file(tmp_path / "exact", [b""], mode=0o644)
        files.create_file(tmp_path / "new", [b""], mode=0o644)
        files.replace_file(tmp_path / "usual", [b""])
        files.write_durably(tmp_path / "private" / "a", [b""])
        files.write_durably(tmp_path / "open" / "a", [b""], mode=None)
    finally:
        os.umask(before)
    assert [mode_of(tmp_path / name) for name in ("exact", "new", "usual")] == [0o644, 0o644, 0o640]
    assert [mode_of(tmp_path / name) for name in ("private", "private/a")] == [0o700, 0o600]
    assert [mode_of(tmp_path / name) for name in ("open", "open/a")] == [0o750, 0o640]


def test_a_last_line_cut_by_a_crash_does_not_count(tmp_path: Path, calls: list[str]) -> None:
    path = tmp_path / "lines" / "a"
    with files.open_lines(path) as file:
        assert file.lines == b""
        file.append(b"one\n")
        assert calls == ["sync a"]
    assert calls == ["sync a", "sync lines"]
    with path.open("ab") as raw:
        raw.write(b"two, cut off before its end")
    with files.open_lines(path) as file:
        assert file.lines == b"one\n"
        file.append(b"2\n")
    assert path.read_bytes() == b"one\n2\n"


def test_lines_have_one_writer_at_a_time(tmp_path: Path) -> None:
    path, asked, read = tmp_path / "a", threading.Event(), []

    def second() -> None:
        asked.set()
        with files.open_lines(path) as file:
            read.append(file.lines)

    with files.open_lines(path) as file:
        thread = threading.Thread(target=second)
        thread.start()
        asked.wait(10)
        thread.join(0.2)
        assert thread.is_alive()
        file.append(b"one\n")
    thread.join(10)
    assert read == [b"one\n"]
