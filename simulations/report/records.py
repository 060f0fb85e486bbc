"""The records of a run: one per round, and one per contributor.

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
from coordinator.protocol.round.feed import Observation


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """One round, as it is written to the metrics files.

    ``seconds`` is wall time of this process and the only field that differs between two runs of
    the same experiment; it is 0 for a round whose record was rebuilt after a crash. ``metrics`` is
    ``None``, and not written, in a run whose experiment names none; it is empty in a round without
    a test.
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
    metrics: dict[str, float | None] | None = None

    def as_json(self) -> str:
        """Return one line of ``metrics.jsonl``."""
        return json.dumps(self.as_dict(), sort_keys=True)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields that are written."""
        fields = dataclasses.asdict(self)
        if self.metrics is None:
            del fields["metrics"]
        return fields

    @property
    def evaluated(self) -> dict[str, float | None]:
        """Losses, accuracy and the metrics asked for, by name."""
        own = {name: getattr(self, name) for name in ("train_loss", "test_loss", "test_accuracy")}
        return own | (self.metrics or {})


@dataclass(frozen=True, slots=True)
class RoundRecorded(Observation):
    """A round's record was written; ``reasons`` has the text of each refusal, in their order."""

    record: RoundRecord
    reasons: tuple[str, ...]


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
    """Return the rounds as CSV with a header; refusals as ``code=count`` separated by ``;``.

    Each value of a metric has a column of its own, ``metrics.`` and its name.
    """
    own = [f.name for f in dataclasses.fields(RoundRecord) if f.name != "metrics"]
    names = own + [f"metrics.{name}" for name in metric_names(rounds)]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    for record in rounds:
        row = record.as_dict()
        row |= {f"metrics.{name}": v for name, v in row.pop("metrics", {}).items()}
        row["refusals"] = ";".join(f"{code}={n}" for code, n in sorted(record.refusals.items()))
        writer.writerow(row)
    return buffer.getvalue()


def metric_names(rounds: Sequence[RoundRecord]) -> list[str]:
    """Return the names of the values that metrics have in any of the rounds, sorted."""
    return sorted({name for record in rounds for name in record.metrics or ()})


def read_rounds(path: Path) -> list[RoundRecord]:
    """Read ``metrics.jsonl``.

    Raises
    ------
    ConfigError
        If a line is not a round record; names file and line.
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
