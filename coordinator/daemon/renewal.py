"""Certificates of a service that runs for years: noticed when renewed, and when they should be."""

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


class EndWatch:
    """Says once a day of each certificate that it ends within a month.

    Parameters
    ----------
    certificates
        PEM files; each is looked at as it is now, so that a renewed one is not complained of.
    clock
        Seconds that never go back.
    """

    def __init__(
        self, certificates: Sequence[Path], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._certificates, self._clock = list(dict.fromkeys(certificates)), clock
        self._next_at = clock()

    def step(self) -> None:
        """Look.

        Raises
        ------
        ConfigError
            If a certificate is not valid now, or cannot be read.
        """
        found = {file: certificate_end(file) for file in self._certificates}
        if self._clock() < self._next_at:
            return
        self._next_at = self._clock() + _WARN_EVERY_S
        for file, end in found.items():
            if end - datetime.now(UTC) < _RENEW_WITHIN:
                _log.warning("certificate %s ends on %s: renew it", file, f"{end:%Y-%m-%d}")


def _stamp_of(file: Path) -> tuple[int, int, int]:
    try:
        found = file.stat()
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror or error}") from error
    return found.st_mtime_ns, found.st_size, found.st_ino
