"""Notices that certificates were renewed, so that nobody has to restart a service for it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from coordinator.core.errors import ConfigError, FedproofError

Stamp = tuple[tuple[int, int, int], ...]


class FileWatch:
    """Tells when a set of files has changed, once they are no longer changing.

    Parameters
    ----------
    files
        They belong together: a key, its certificate, an authority.
    changed
        Called once for each change; if it fails, at every step until it does not.
    """

    def __init__(self, files: Sequence[Path], changed: Callable[[], None]) -> None:
        self._files, self._changed = list(files), changed
        self._known = self._seen = self._stamp() if files else ()
        self._failed: FedproofError | None = None

    def step(self) -> None:
        """Look; what differs from what is known, and is as it was at the last step, is told.

        Raises
        ------
        ConfigError
            If a file is missing.
        FedproofError
            Whatever ``changed`` raised last, until it has worked or the files are as before.
        """
        now = self._stamp()
        settled, self._seen = now == self._seen, now
        if settled:
            self._failed = None
            if now != self._known:
                self._tell(now)
        elif self._failed is not None:
            raise self._failed

    def _tell(self, now: Stamp) -> None:
        try:
            self._changed()
        except FedproofError as error:
            self._failed = error
            raise
        self._known = now

    def _stamp(self) -> Stamp:
        return tuple(_stamp_of(file) for file in self._files)


def _stamp_of(file: Path) -> tuple[int, int, int]:
    try:
        found = file.stat()
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror or error}") from error
    return found.st_mtime_ns, found.st_size, found.st_ino
