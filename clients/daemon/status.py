"""``state/status.json``: the daemon's state, for people and monitoring; it is never read back."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from coordinator.local.children import ChildStatus
from coordinator.local.files import replace_file
from coordinator.protocol.canonical import canonical_json

State = Literal["connecting", "refusing", "ready", "training", "stopped"]


@dataclass(frozen=True)
class ParticipantStatus:
    """The daemon's state at one time; ``faults`` are the current ones, by task.

    ``out_of_step`` counts the restarts of the SuperNode because it would have passed replies on
    one round late. ``equivocated`` lists the rounds for which the coordinator signed two different
    instructions; both are kept.
    """

    name: str
    address: str
    state: State
    pid: int
    chain_block: int
    bond_wei: str
    trained: int
    repeated: int
    refused: int
    last_round: int | None
    last_refusal: str
    out_of_step: int
    equivocated: Sequence[int]
    faults: Mapping[str, str]
    children: Sequence[Mapping[str, Any]]


def child_rows(children: Sequence[ChildStatus]) -> list[Mapping[str, Any]]:
    """Return the children as plain values."""
    return [asdict(child) for child in children]


def write_status(path: Path, status: ParticipantStatus) -> None:
    """Replace the status file; errors are ignored, as a full disk must not stop the daemon."""
    with contextlib.suppress(OSError):
        replace_file(path, [canonical_json(_plain(asdict(status))), b"\n"], sync=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
