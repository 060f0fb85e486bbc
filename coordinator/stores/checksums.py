"""Checksums of files in the format of ``sha256sum``, and the files that differ from them."""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from coordinator.local.files import read_file, unreadable

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def checksum_lines(root: Path, names: Sequence[str]) -> bytes:
    """Return one line per file: its SHA-256 in hex, two spaces, its name relative to ``root``."""
    return b"".join(
        f"{digest_of(root / name)}  ".encode() + os.fsencode(name) + b"\n" for name in names
    )


def check(root: Path, sums: Path, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield ``(file, problem)`` for each file that is changed, missing, or not listed in ``sums``.

    Parameters
    ----------
    root
        The folder that names are relative to.
    sums
        File with the result of :func:`checksum_lines`.
    names
        Exactly the files that should be listed; no other is opened.

    Raises
    ------
    StoreError
        If a file exists and cannot be read, so that it cannot be checked.
    """
    if not _is_file(sums):
        yield sums.name, "missing: the run is not complete, or the file was removed"
        return
    data = read_file(sums)
    if problem := _unreadable(data):
        yield sums.name, problem
        return
    expected, listed = {*names}, set()
    *lines, rest = data.decode("ascii").split("\n")  # splitlines() would split at more characters
    if rest:
        yield sums.name, "does not end with a line break"
    for number, line in enumerate(lines, 1):
        digest, separator, name = line.partition("  ")
        if not separator or not _DIGEST.fullmatch(digest):
            yield sums.name, f"line {number} is not '<sha256>  <file>'"
        elif name in listed:
            yield sums.name, f"line {number} lists {name} again"
        elif name not in expected:
            yield name, "missing"
        elif (actual := digest_of(root / name)) != digest:
            yield name, f"SHA-256 is {actual}, expected {digest}"
        listed.add(name)
    for name in names:
        if name not in listed:
            yield name, f"not listed in {sums.name}"


def _unreadable(data: bytes) -> str:
    """Return why the checksums cannot be parsed at all, empty if they can."""
    if b"\r\n" in data:
        return "has Windows line ends: copy the run as it is, without converting its files"
    try:
        data.decode("ascii")
    except UnicodeDecodeError as error:
        return f"unreadable: {error}"
    return ""


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
    """Open a file and close it; a file that does not exist any more is ignored.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    try:
        with open(path, "rb"):
            pass
    except FileNotFoundError:
        pass
    except OSError as error:
        raise unreadable(path, error) from error


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:  # its folder may not be read
        raise unreadable(path, error) from error
