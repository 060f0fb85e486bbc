"""What a run says of itself: one record a round, one a contributor.

``metrics.jsonl`` and ``metrics.csv`` hold the rounds, ``contributors.json`` the contributors;
``report.md`` and the plots are drawn from them.
"""

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coordinator.local.files import unreadable
from coordinator.protocol.canonical import parse_json
from coordinator.protocol.errors import ConfigError, VerificationError


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """One round, as it is written to the metrics files.

    ``seconds`` is wall time of this process and the only field that differs between two runs of
    the same experiment; it is 0 for a round whose record was rebuilt after a crash.
    """

    round: int
    status: str
    reason: str
    model_root: str
    contributors_root: str
    contributors: int
    refused: int
    refusals: dict[str, int]
    examples: int
    stake_wei: int
    paid_wei: int
    train_loss: float | None
    test_loss: float | None
    test_accuracy: float | None
    seconds: float

    def as_json(self) -> str:
        """Return one line of ``metrics.jsonl``."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


@dataclass(frozen=True, slots=True)
class ContributorRecord:
    """One simulated contributor at the end of the run; amounts in wei."""

    client: int
    label: str
    address: str
    behaviour: str
    examples: int
    stake_wei: int
    slashed_wei: int
    earned_wei: int
    claimed_wei: int
    accepted: int
    refusals: dict[str, int] = field(default_factory=dict)


def metrics_csv(rounds: Sequence[RoundRecord]) -> str:
    """Return the rounds as CSV with a header; refusals as ``code=count`` separated by ``;``."""
    names = [f.name for f in dataclasses.fields(RoundRecord)]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    for record in rounds:
        row = dataclasses.asdict(record)
        row["refusals"] = ";".join(f"{code}={n}" for code, n in sorted(record.refusals.items()))
        writer.writerow(row)
    return buffer.getvalue()


def read_rounds(path: Path) -> list[RoundRecord]:
    """Read ``metrics.jsonl``.

    Raises
    ------
    ConfigError
        Naming the file and the line that is not a round record.
    StoreError
        If the file cannot be read.
    """
    records = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        try:
            records.append(RoundRecord(**parse_json(line.encode(), "line")))
        except (VerificationError, TypeError) as error:
            raise ConfigError(f"{path}, line {number}: not a round record: {error}") from error
    return records


def read_contributors(path: Path) -> list[ContributorRecord]:
    """Read ``contributors.json``.

    Raises
    ------
    ConfigError
        If the file is missing or not a list of contributor records.
    StoreError
        If it cannot be read.
    """
    try:
        rows: Any = parse_json(_text(path).encode(), path.name)
        return [ContributorRecord(**row) for row in rows]
    except (VerificationError, TypeError) as error:
        raise ConfigError(f"{path}: not a list of contributor records: {error}") from error


def contributors_json(people: Sequence[ContributorRecord]) -> str:
    """Return the contents of ``contributors.json``."""
    return json.dumps([dataclasses.asdict(p) for p in people], indent=1, sort_keys=True) + "\n"


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: missing; expected a run folder written by 'fedproof simulate'"
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
