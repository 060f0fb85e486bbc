"""Watches a long-running service's certificates: notices renewed ones, and warns before expiry."""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from coordinator.http.tls import certificate_end
from coordinator.protocol.errors import ConfigError, FedproofError

_RENEW_WITHIN: Final = timedelta(days=30)
_WARN_EVERY_S: Final = 86_400.0
_log = logging.getLogger("fedproof.coordinator")

Stamp = tuple[tuple[int, int, int], ...]


class FileWatch:
    """Calls a function when a set of files has changed, once they are no longer changing.

    Parameters
    ----------
    files
        Files that belong together: a key, its certificate, an authority.
    changed
        Called once for each change; if it fails, again at every step until it succeeds.
    """

    def __init__(self, files: Sequence[Path], changed: Callable[[], None]) -> None:
        self._files, self._changed = list(files), changed
        self._known = self._seen = self._stamp() if files else ()
        self._failed: FedproofError | None = None

    def step(self) -> None:
        """Check the files; a change that was already there at the last step is reported.

        Raises
        ------
        ConfigError
            If a file is missing.
        FedproofError
            The last error of ``changed``, until it has succeeded or the files are as before.
        """
        now = self._stamp()
        settled, self._seen = now == self._seen, now
        if settled:
            self._failed = None
            if now != self._known:
                self._report(now)
        elif self._failed is not None:
            raise self._failed

    def _report(self, now: Stamp) -> None:
        try:
            self._changed()
        except FedproofError as error:
            self._failed = error
            raise
        self._known = now

    def _stamp(self) -> Stamp:
        return tuple(_stamp_of(file) for file in self._files)


class EndWatch:
    """Warns once a day of each certificate that expires within a month.

    Parameters
    ----------
    certificates
        PEM files; each is read again at every step, so that a renewed one gives no warning.
    clock
        A clock in seconds that never goes back.
    """

    def __init__(
        self, certificates: Sequence[Path], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._certificates, self._clock = list(dict.fromkeys(certificates)), clock
        self._next_at = clock()

    def step(self) -> None:
        """Check the certificates, and log a warning for each that expires soon.

        Raises
        ------
        ConfigError
            If a certificate is not valid now, or cannot be read.
        """
        ends = {file: certificate_end(file) for file in self._certificates}
        if self._clock() < self._next_at:
            return
        self._next_at = self._clock() + _WARN_EVERY_S
        for file, end in ends.items():
            if end - datetime.now(UTC) < _RENEW_WITHIN:
                _log.warning("certificate %s ends on %s: renew it", file, f"{end:%Y-%m-%d}")


def _stamp_of(file: Path) -> tuple[int, int, int]:
    try:
        status = file.stat()
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror or error}") from error
    return status.st_mtime_ns, status.st_size, status.st_ino
