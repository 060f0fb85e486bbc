"""Digests of files in the form that ``sha256sum -c`` reads, and what no longer fits them."""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from coordinator.local.files import read_file, unreadable

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def checksum_lines(root: Path, names: Sequence[str]) -> bytes:
    """Return one line a file: its SHA-256 in hex, two spaces, its name below ``root``."""
    return b"".join(
        f"{digest_of(root / name)}  ".encode() + os.fsencode(name) + b"\n" for name in names
    )


def check(root: Path, sums: Path, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield ``(file, what is wrong)``: changed, missing, or not listed in ``sums``.

    Parameters
    ----------
    root
        The folder that names are relative to.
    sums
        What :func:`checksum_lines` gave, as a file.
    names
        Every file that should be listed, and no other; nothing else is opened.

    Raises
    ------
    StoreError
        If a file is there and cannot be read: then nobody knows how it is.
    """
    if not _is_file(sums):
        yield sums.name, "missing: the run is not complete, or the file was removed"
        return
    data = read_file(sums)
    if problem := _unreadable(data):
        yield sums.name, problem
        return
    expected, listed = {*names}, set()
    *lines, rest = data.decode("ascii").split("\n")  # not splitlines: nothing else ends a line
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
        elif (found := digest_of(root / name)) != digest:
            yield name, f"SHA-256 is {found}, expected {digest}"
        listed.add(name)
    for name in names:
        if name not in listed:
            yield name, f"not listed in {sums.name}"


def _unreadable(data: bytes) -> str:
    """Return why no line of the checksums can be read, empty if some can."""
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
    """Open a file and close it; one that is there no more is not asked for.

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
    except OSError as error:  # its folder is closed to us
        raise unreadable(path, error) from error
