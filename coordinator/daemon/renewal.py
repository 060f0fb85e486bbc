"""Notices that certificates were renewed, so that nobody has to restart a service for it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from coordinator.core.errors import ConfigError

Stamp = tuple[tuple[int, int, int], ...]


class FileWatch:
    """Tells when a set of files has changed, once they are no longer changing.

    Parameters
    ----------
    files
        They belong together: a key, its certificate, an authority.
    changed
        Called once for each change.
    """

    def __init__(self, files: Sequence[Path], changed: Callable[[], None]) -> None:
        self._files, self._changed = list(files), changed
        self._known = self._seen = self._stamp() if files else ()

    def step(self) -> None:
        """Look; what differs from what is known, and is as it was at the last step, is told.

        Raises
        ------
        ConfigError
            If a file is missing.
        FedproofError
            Whatever ``changed`` raises; it is called again when the files change again.
        """
        now = self._stamp()
        settled, self._seen = now == self._seen, now
        if settled and now != self._known:
            self._known = now
            self._changed()

    def _stamp(self) -> Stamp:
        return tuple(_stamp_of(file) for file in self._files)


def _stamp_of(file: Path) -> tuple[int, int, int]:
    try:
        found = file.stat()
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror or error}") from error
    return found.st_mtime_ns, found.st_size, found.st_ino
