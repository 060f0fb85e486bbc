"""The findings of an audit: one line per round, and faults naming round, artifact and rule."""

from dataclasses import dataclass, field
from typing import Any

from coordinator.protocol.errors import (
    BlobCorruptError,
    BlobMissingError,
    FedproofError,
    StoreError,
    UnknownRuleError,
)

Broken = tuple[str, str, str]
"""An artifact, the rule it breaks, and how."""


def printable(text: str) -> str:
    r"""Return a text from an untrusted folder with its non-printable characters escaped.

    Examples
    --------
    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


@dataclass(frozen=True, slots=True)
class Fault:
    """One broken rule. ``round_id`` is ``None`` for the run as a whole."""

    round_id: int | None
    artifact: str
    rule: str
    detail: str

    def as_json(self) -> dict[str, Any]:
        """Return the fault as plain JSON values."""
        return {
            "round": self.round_id,
            "artifact": self.artifact,
            "rule": self.rule,
            "detail": self.detail,
        }

    def __str__(self) -> str:
        """Return one line: place, artifact, rule, detail."""
        place = "run" if self.round_id is None else f"round {self.round_id}"
        return f"{place}: {self.artifact}: {self.rule}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Unread:
    """An artifact that was not checked.

    It could not be read, or is a rule or a score that this process has not loaded (``is_unknown``).
    """

    round_id: int | None
    artifact: str
    detail: str
    is_unknown: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the artifact as plain JSON values."""
        return {
            "round": self.round_id,
            "artifact": self.artifact,
            "detail": self.detail,
            "unknown": self.is_unknown,
        }


@dataclass(slots=True)
class RoundFinding:
    """What one round committed to, and whether all of it was read and reproduced."""

    round_id: int
    status: str
    model_root: str = ""
    contributors: int = 0
    total_stake_wei: int = 0
    paid_wei: int = 0
    reason: str = ""
    ok: bool = True

    def as_json(self) -> dict[str, Any]:
        """Return the line as plain JSON values."""
        return {
            "round": self.round_id,
            "status": self.status,
            "model_root": self.model_root,
            "contributors": self.contributors,
            "total_stake_wei": self.total_stake_wei,
            "paid_wei": self.paid_wei,
            "reason": self.reason,
            "ok": self.ok,
        }


@dataclass(slots=True)
class Findings:
    """The whole audit.

    Attributes
    ----------
    rounds
        One line per round.
    faults
        Broken rules.
    unread
        Artifacts that could not be read because a store refuses or does not answer, or a disk
        fails; and rules and scores that this process has not loaded. That is no fault of the
        coordinator, but what depends on them was not checked.
    facts
        Figures of the run for the summary line.
    """

    rounds: list[RoundFinding] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether everything was read, and no rule is broken."""
        return not self.faults and not self.unread

    def fault(self, round_id: int | None, artifact: str, rule: str, detail: str) -> None:
        """Add a fault."""
        self.faults.append(Fault(round_id, artifact, rule, detail))

    def refused(self, round_id: int | None, artifact: str, rule: str, error: FedproofError) -> None:
        """Add what reading an artifact ended with.

        A fault, unless the store itself failed, or the artifact names a rule that is not loaded:
        then nothing is known of it.
        """
        if isinstance(error, UnknownRuleError):
            self.unread.append(Unread(round_id, artifact, str(error), is_unknown=True))
        elif isinstance(error, StoreError) and not isinstance(
            error, BlobMissingError | BlobCorruptError
        ):
            self.unread.append(Unread(round_id, artifact, str(error)))
        else:
            self.fault(round_id, artifact, rule, str(error))

    def as_json(self) -> dict[str, Any]:
        """Return the object ``fedproof verify --json`` prints."""
        return {
            "ok": self.ok,
            "rounds": [line.as_json() for line in self.rounds],
            "faults": [fault.as_json() for fault in self.faults],
            "unread": [unread.as_json() for unread in self.unread],
            **self.facts,
        }
