"""The allowed files of a run's folder, and the entries that do not belong to a run.

Links are not followed and no file is opened, so an untrusted folder cannot lead outside or block
the reader. Not handled: the contents of files (``checksums`` and the audit).
"""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coordinator.local.files import TEMPORARY
from coordinator.protocol.errors import StoreError

CONFIG: Final = "config.json"
CHECKSUMS: Final = "SHA256SUMS"
LOCK: Final = ".lock"
REPORT: Final = "report.md"
VIEWS: Final = "plots"
FILES: Final = (
    CHECKSUMS,
    CONFIG,
    "contributors.json",
    "coordinator.json",
    "federation.json",
    "metrics.csv",
    "metrics.jsonl",
    REPORT,
    "versions.json",
)
FOLDERS: Final = ("attempts", "blobs", "chain", "pending", "plots", "rounds", "withheld")
"""With ``FILES``, all that a run writes into its folder besides the lock; only that is deleted."""

_NAMES: Final = "|".join(re.escape(name) for name in (*FILES, LOCK))
_SUFFIX: Final = r"(safetensors|bin|(commitments|contributors|rewards|rule|scores)\.json)"
_FILE: Final = re.compile(
    rf"{_NAMES}|chain/chain\.sqlite|(rounds|attempts)/[0-9]{{6,}}\.json|plots/[^/]+\.png"
    rf"|(blobs|withheld)/(?P<start>[0-9a-f]{{2}})/(?P=start)[0-9a-f]{{62}}\.{_SUFFIX}"
)
_UNFINISHED_FILE: Final = re.compile(r"chain/chain\.sqlite-(journal|shm|wal)|pending/.+")
_FOLDER: Final = re.compile(r"attempts|chain|plots|rounds|(blobs|withheld)(/[0-9a-f]{2})?")
_UNFINISHED_FOLDER: Final = re.compile(r"pending(/.+)?")
_VOUCHERS: Final = {
    CONFIG: "chain",
    "federation.json": "chain",
    "chain": "chain",
    "blobs": "chain",
    "withheld": "chain",
    "contributors.json": "in_part",
    "coordinator.json": "in_part",
    "metrics.csv": "in_part",
    "metrics.jsonl": "in_part",
    "rounds": "in_part",
    "attempts": "sums",
    "versions.json": "sums",
}
_KINDS: Final = (
    (stat.S_ISREG, "file"),
    (stat.S_ISDIR, "folder"),
    (stat.S_ISLNK, "symbolic link"),
    (stat.S_ISFIFO, "named pipe"),
    (stat.S_ISSOCK, "socket"),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a folder, at any depth.

    Attributes
    ----------
    name
        Its path relative to the folder, with ``/``.
    kind
        ``file``, ``folder``, ``symbolic link``, ``named pipe``, ``socket`` or ``device``.
    size_bytes
        Length of a file.
    is_empty
        Whether a folder is empty.
    """

    name: str
    kind: str
    size_bytes: int = 0
    is_empty: bool = False


def entries(root: Path) -> list[Entry]:
    """Return all entries of a folder, at any depth, in order of name.

    Entries that are removed meanwhile are left out.

    Raises
    ------
    StoreError
        If a folder cannot be listed.
    """
    listed, waiting = [], [""]
    while waiting:
        above = waiting.pop()
        try:
            below = list(_listed(root, above))
        except FileNotFoundError:
            continue
        except OSError as error:
            place = root / above
            raise StoreError(f"cannot read {place}: {error.strerror or error}") from error
        if above:
            listed.append(Entry(above, "folder", is_empty=not below))
        listed += [entry for entry in below if entry.kind != "folder"]
        waiting += [entry.name for entry in below if entry.kind == "folder"]
    return sorted(listed, key=lambda entry: entry.name)


def _listed(root: Path, above: str) -> Iterator[Entry]:
    with os.scandir(root / above) as listing:
        for item in listing:
            try:
                status = item.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            kind = next((name for is_kind, name in _KINDS if is_kind(status.st_mode)), "device")
            name = f"{above}/{item.name}" if above else item.name
            yield Entry(name, kind, status.st_size)


def is_covered(entry: Entry) -> bool:
    """Return whether the checksums list an entry: any file but report, plots, lock, checksums."""
    apart = entry.name in (CHECKSUMS, LOCK, REPORT) or entry.name.startswith(f"{VIEWS}/")
    return entry.kind == "file" and not apart


def vouchers(listed: list[Entry]) -> dict[str, list[str]]:
    """Return the files of a run by how they can be checked; a folder means all files in it.

    ``chain`` if all of it follows from the chain, ``in_part`` if some does (the rest is the
    coordinator's claim or a measurement), ``sums`` if only checksums protect it, ``nothing`` for
    report and plots (ADR 146).
    """
    kinds: dict[str, set[str]] = {"chain": set(), "in_part": set(), "sums": set(), "nothing": set()}
    for entry in listed:
        if entry.kind != "file" or entry.name in (CHECKSUMS, LOCK):
            continue
        top, inside, _ = entry.name.partition("/")
        kinds[_VOUCHERS.get(top, "nothing")].add(f"{top}/" if inside else top)
    return {kind: sorted(names) for kind, names in kinds.items()}


def misplaced(listed: list[Entry], *, finished: bool) -> Iterator[tuple[str, str]]:
    """Yield ``(name, problem)`` for each entry that is not part of a run.

    Parameters
    ----------
    listed
        The result of :func:`entries`.
    finished
        Whether the run is complete: then unfinished files and unrevealed updates are problems.
    """
    for entry in listed:
        if entry.kind == "folder":
            problem = _folder_problem(entry, finished)
        elif entry.kind != "file":
            problem = f"a {entry.kind}, expected a regular file"
        elif not is_in_place(entry.name, finished=finished):
            problem = "no file of a run, or not in its place"
        elif entry.name == LOCK and entry.size_bytes:
            problem = f"{entry.size_bytes} bytes long, expected an empty file"
        else:
            continue
        if problem:
            yield entry.name, problem


def is_in_place(name: str, *, finished: bool) -> bool:
    """Return whether a run may have a file of this name; an unfinished one may have a few more."""
    if _FILE.fullmatch(name):
        return True
    last = name.rpartition("/")[2]
    return not finished and bool(last.startswith(TEMPORARY) or _UNFINISHED_FILE.fullmatch(name))


def _folder_problem(entry: Entry, finished: bool) -> str:
    if not _FOLDER.fullmatch(entry.name):
        if not finished and _UNFINISHED_FOLDER.fullmatch(entry.name):
            return ""
        return "no folder of a run, or not in its place"
    return "an empty folder" if finished and entry.is_empty else ""


def looks_like_run(root: Path) -> bool:
    """Return whether a folder is a run's, even a changed or incomplete one.

    It has a run's configuration or checksums, and one more required part of a run.
    """
    marks = (CONFIG, CHECKSUMS, "federation.json", "chain/chain.sqlite", "blobs")
    present = {mark for mark in marks if os.path.lexists(root / mark)}
    return len(present) > 1 and bool(present & {CONFIG, CHECKSUMS})


def round_of(name: str) -> int | None:
    """Return the round of a file with the coordinator's notes, ``None`` for other files."""
    folder, _, file = name.partition("/")
    number = file.removesuffix(".json")
    if folder in ("attempts", "rounds") and number.isascii() and number.isdigit():
        return int(number)
    return None
