"""Digests of files in the form that ``sha256sum -c`` reads, and what no longer fits them."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from coordinator.local.files import read_file, unreadable


def checksum_lines(root: Path, files: Iterable[Path]) -> bytes:
    """Return one line a file: its SHA-256 in hex, two spaces, its path below ``root``."""
    lines = [f"{digest_of(path)}  {path.relative_to(root).as_posix()}\n" for path in files]
    return "".join(lines).encode()


def check(root: Path, sums: Path, files: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Yield ``(file, what is wrong)``: changed, missing, or not listed in ``sums``.

    Parameters
    ----------
    root
        The folder that names are relative to.
    sums
        What :func:`checksum_lines` gave, as a file.
    files
        All that should be listed.

    Raises
    ------
    StoreError
        If a file is there and cannot be read: then nobody knows how it is.
    """
    if not _is_file(sums):
        yield sums.name, "missing: the run is not complete, or the file was removed"
        return
    try:
        text = read_file(sums).decode("ascii")
    except UnicodeDecodeError as error:
        yield sums.name, f"unreadable: {error}"
        return
    *lines, rest = text.split("\n")  # not splitlines: no other character breaks a line here
    if rest:
        yield sums.name, "does not end with a line break"
    listed = set()
    for number, line in enumerate(lines, 1):
        digest, separator, name = line.partition("  ")
        if not separator or len(digest) != 64:
            yield sums.name, f"line {number} is not '<sha256>  <file>'"
            continue
        listed.add(name)
        if not _is_file(root / name):
            yield name, "missing"
        elif (found := digest_of(root / name)) != digest:
            yield name, f"SHA-256 is {found}, expected {digest}"
    for path in files:
        if (name := path.relative_to(root).as_posix()) not in listed:
            yield name, f"not listed in {sums.name}"


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def require_readable(path: Path) -> None:
    """Open a file and close it.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise unreadable(path, error) from error


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:  # its folder is closed to us, or no file can have such a name
        raise unreadable(path, error) from error
