"""What lies in a run's folder, and what of it is no part of a run.

Links are not followed and nothing is opened, so a folder that somebody else made can lead nowhere
and block nobody. Not handled: what the files hold (``checksums`` and the audit).
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
"""All that a run ever puts into its folder, beside the lock: nothing else in it is deleted."""

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
    """Something in a folder.

    Attributes
    ----------
    name
        Its path below the folder, with ``/``.
    kind
        ``file``, ``folder``, ``symbolic link``, ``named pipe``, ``socket`` or ``device``.
    size_bytes
        Of a file, its length.
    is_empty
        Of a folder, whether nothing lies in it.
    """

    name: str
    kind: str
    size_bytes: int = 0
    is_empty: bool = False


def entries(root: Path) -> list[Entry]:
    """Return all that lies in a folder, at any depth, in order of name.

    What is removed meanwhile is left out.

    Raises
    ------
    StoreError
        If a folder cannot be listed: then nobody knows what is in it.
    """
    found, waiting = [], [""]
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
            found.append(Entry(above, "folder", is_empty=not below))
        found += [entry for entry in below if entry.kind != "folder"]
        waiting += [entry.name for entry in below if entry.kind == "folder"]
    return sorted(found, key=lambda entry: entry.name)


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
    """Return whether the checksums list an entry: a file, but no view, lock or checksums."""
    apart = entry.name in (CHECKSUMS, LOCK, REPORT) or entry.name.startswith(f"{VIEWS}/")
    return entry.kind == "file" and not apart


def vouchers(found: list[Entry]) -> dict[str, list[str]]:
    """Return the files of a run by what vouches for them; folders stand for all files in them.

    ``chain`` for all that they say, ``in_part`` (the rest is the coordinator's word, or was
    measured), ``sums`` for what only the checksums do, ``nothing`` for views (ADR 146).
    """
    kinds: dict[str, set[str]] = {"chain": set(), "in_part": set(), "sums": set(), "nothing": set()}
    for entry in found:
        if entry.kind != "file" or entry.name in (CHECKSUMS, LOCK):
            continue
        top, inside, _ = entry.name.partition("/")
        kinds[_VOUCHERS.get(top, "nothing")].add(f"{top}/" if inside else top)
    return {kind: sorted(names) for kind, names in kinds.items()}


def misplaced(found: list[Entry], *, finished: bool) -> Iterator[tuple[str, str]]:
    """Yield ``(name, what is wrong)`` for each entry that is no part of a run.

    Parameters
    ----------
    found
        What :func:`entries` gave.
    finished
        Whether the run is complete: then nothing half written or not revealed may be left.
    """
    for entry in found:
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
    """Return whether a run has a file of this name; of a run that is not finished, a few more."""
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
    """Return whether a folder is a run's, changed and incomplete ones included.

    It has a run's configuration or checksums, and one more thing that a run cannot do without.
    """
    marks = (CONFIG, CHECKSUMS, "federation.json", "chain/chain.sqlite", "blobs")
    found = {mark for mark in marks if os.path.lexists(root / mark)}
    return len(found) > 1 and bool(found & {CONFIG, CHECKSUMS})


def round_of(name: str) -> int | None:
    """Return the round that a file of the coordinator's notes is about, ``None`` for others."""
    folder, _, file = name.partition("/")
    number = file.removesuffix(".json")
    if folder in ("attempts", "rounds") and number.isascii() and number.isdigit():
        return int(number)
    return None
