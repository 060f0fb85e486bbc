"""Logs of a daemon: JSON lines in a file, readable lines on the screen.

Everything logged with the standard library goes to both. Fields go in ``extra``::

    log = logging.getLogger("fedproof.coordinator")
    log.info("round sealed", extra=fields(round=3, contributors=4))

A full disk must not end a daemon that has nothing else to write: lines that cannot be written are
lost, which is reported once on the screen. Passwords and keys are never logged.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final, TextIO

from coordinator.protocol.errors import StoreError

_FIELDS: Final = "fedproof_fields"
_MAX_BYTES: Final = 16 << 20
_KEPT_FILES: Final = 5
_FOREIGN: Final = ("flwr", "uvicorn", "httpx", "httpcore", "urllib3", "web3", "asyncio", "numba")
"""Libraries with too many lines at ``info``: only their warnings are logged."""


def fields(**values: Any) -> dict[str, Any]:
    """Return the ``extra`` of a log call with named values."""
    return {_FIELDS: values}


def start_logging(
    path: Path, *, level: str = "info", screen: TextIO | None = None, max_bytes: int = _MAX_BYTES
) -> None:
    """Write everything logged in this process to ``path`` and to the screen, from now on.

    Parameters
    ----------
    path
        The file of JSON lines; it is rotated at ``max_bytes``, and five old files are kept.
    level
        ``debug``, ``info``, ``warning`` or ``error``.
    screen
        Standard error by default.

    Raises
    ------
    StoreError
        If the file cannot be opened.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = _File(path, maxBytes=max_bytes, backupCount=_KEPT_FILES, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"log {path}: {error.strerror or error}") from error
    file.setFormatter(JsonLines())
    plain = logging.StreamHandler(screen or sys.stderr)
    plain.setFormatter(PlainLines())
    root = logging.getLogger()
    stop_logging()
    root.setLevel(level.upper())
    root.addHandler(file)
    root.addHandler(plain)
    for name in _FOREIGN:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)


def stop_logging() -> None:
    """Flush and close the logs that :func:`start_logging` opened."""
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h.formatter, JsonLines | PlainLines)]:
        root.removeHandler(handler)
        handler.close()


class JsonLines(logging.Formatter):
    """``{"time": ..., "level": ..., "logger": ..., "message": ..., ...fields}``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line; times are UTC, ISO 8601, milliseconds."""
        line: dict[str, Any] = {
            "time": _time(record).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {k: v for k, v in _fields_of(record).items() if k not in line}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class PlainLines(logging.Formatter):
    """``08:15:02 INFO  round sealed round=3 contributors=4``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, or several with a traceback."""
        named = "".join(f" {name}={value}" for name, value in _fields_of(record).items())
        message = " ".join(record.getMessage().split())
        text = f"{_time(record):%H:%M:%S} {record.levelname:<7} {message}{named}"
        if record.exc_info and record.levelno >= logging.ERROR:
            text += "\n" + self.formatException(record.exc_info)
        return text


class _File(RotatingFileHandler):
    """Drops lines when the disk is full, and reports that once on the screen."""

    _failed = _complained = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, or drop it."""
        self._failed = False
        super().emit(record)
        self._complained = self._complained and self._failed

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Report a full disk once, until a line can be written again."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._failed = True
        if not self._complained:
            self._complained = True
            print(f"log {self.baseFilename}: {error.strerror}; lines are lost", file=sys.stderr)


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    fields = getattr(record, _FIELDS, {})
    return fields if isinstance(fields, dict) else {}
