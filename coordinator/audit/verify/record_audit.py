"""Audits a finished run's own records: metrics, notes, contributors, coordinator.

Values that follow from chain and blobs are computed again and must match byte for byte. The rest is
the coordinator's claim or a measurement (refusals, test accuracy, wall time): it is protected by
the checksums only, and only its form is checked. ADR 146 has the table.
"""

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from coordinator.audit.verify.chain_audit import COORDINATES, AuditedChain
from coordinator.audit.verify.findings import Findings, printable
from coordinator.ledger.contract_ledger import chain_reason
from coordinator.ledger.run_figures import coordinator_figures, round_figures, slashed_wei
from coordinator.local.files import read_file
from coordinator.ports import ArtifactStore
from coordinator.protocol.canonical import parse_json
from coordinator.protocol.commitments.documents import (
    contributor_entries,
    reward_leaves,
    rule_from,
)
from coordinator.protocol.errors import FedproofError, StoreError, VerificationError
from coordinator.protocol.round.chain_round import ChainRound, RoundStatus
from coordinator.protocol.signatures.eip712 import checksum_address
from coordinator.protocol.types import (
    Address,
    ContributorEntry,
    JsonObject,
    RoundId,
    address_bytes,
)
from coordinator.stores.run_folder import RunFolder
from coordinator.stores.run_layout import round_of

METRICS: Final = "metrics.jsonl"
TABLE: Final = "metrics.csv"
CONTRIBUTORS: Final = "contributors.json"
COORDINATOR: Final = "coordinator.json"
RULE: Final = "what a run records must be what chain and blobs say"
ROUND_COLUMNS: Final = (
    "round",
    "status",
    "reason",
    "model_root",
    "contributors_root",
    "contributors",
    "refused",
    "refusals",
    "examples",
    "stake_wei",
    "paid_wei",
    "train_loss",
    "test_loss",
    "test_accuracy",
    "seconds",
)
"""Columns of ``metrics.csv``, in order; a line of ``metrics.jsonl`` has the same keys."""
MEASURED: Final = "metrics"
"""A further key of each line, where the experiment names metrics; in the table a column a value."""
_NOTE_KEYS: Final = {"reason", "refusals", "round", "status", "velocity"}
_REFUSAL_KEYS: Final = {"code", "message", "sender"}
_CONTRIBUTOR_KEYS: Final = {
    "accepted",
    "address",
    "behaviour",
    "claimed_wei",
    "client",
    "earned_wei",
    "examples",
    "label",
    "refusals",
    "slashed_wei",
    "stake_wei",
}
_ROOT: Final = re.compile(r"([0-9a-f]{64})?")
_EXPIRED: Final = "deadline"
"""The contract's reason for a round that was not sealed in time; a note may say more."""


class _WrongError(Exception):
    """A record differs from the expected one; the message says how."""


@dataclass(frozen=True, slots=True)
class _Decided:
    """A decided round and what its documents say; ``figures`` is ``None`` if they are broken."""

    found: ChainRound
    entries: Sequence[ContributorEntry]
    figures: Mapping[str, Any] | None


class RecordAuditor:
    """Audits the records of one finished run.

    Parameters
    ----------
    folder, chain, store
        The run; its chain was executed again.
    momenta
        By round, the root of the server momentum after it, ``None`` where the rule has none;
        rounds that could not be computed again are absent.
    """

    def __init__(
        self,
        folder: RunFolder,
        chain: AuditedChain,
        store: ArtifactStore,
        momenta: Mapping[RoundId, bytes | None],
        findings: Findings,
    ) -> None:
        self._root, self._chain, self._store = folder.root, chain, store
        self._momenta, self._findings = momenta, findings
        head = chain.ledger.head().last_opened
        rounds = [chain.ledger.round(RoundId(number)) for number in range(1, head + 1)]
        if rounds and rounds[-1].status is RoundStatus.OPEN:
            rounds.pop()
        self._decided = [self._read(chain_round) for chain_round in rounds]
        self._notes: dict[RoundId, JsonObject] = {}
        self._without_note: set[RoundId] = set()

    def audit(self) -> None:
        """Compare every record, and add a fault for each that differs."""
        for decided in self._decided:
            number = decided.found.round_id
            name = f"rounds/{number:06d}.json"
            self._check(int(number), name, partial(self._check_note, decided, name))
        for name in self._numbered("rounds"):
            if round_of(name) not in {decided.found.round_id for decided in self._decided}:
                self._findings.fault(None, name, RULE, "the chain has no such round")
        for name in self._numbered("attempts"):
            self._check(round_of(name), name, partial(self._check_attempt, name))
        rows = self._metrics()
        if rows is not None:
            self._check(None, TABLE, partial(self._check_table, rows))
        self._check(None, CONTRIBUTORS, self._check_contributors)
        self._check(None, COORDINATOR, self._check_coordinator)
        if not any(fault.artifact == COORDINATES for fault in self._findings.faults):
            self._check(None, COORDINATES, self._check_coordinates)

    def _check(self, round_id: int | None, name: str, check: Callable[[], None]) -> None:
        try:
            check()
        except (_WrongError, VerificationError, StoreError) as error:
            self._findings.fault(round_id, name, RULE, printable(str(error)))

    def _read(self, chain_round: ChainRound) -> _Decided:
        """Read what a round committed to; the audit of the rounds names what is broken there."""
        try:
            rule = rule_from(self._store.get_document("rule", chain_round.rule_hash))
            entries: Sequence[ContributorEntry] = ()
            if chain_round.status.has_result:
                document = self._store.get_document("contributors", chain_round.contributors_root)
                entries = contributor_entries(document)
        except (FedproofError, TypeError):
            return _Decided(chain_round, (), None)
        return _Decided(chain_round, entries, round_figures(chain_round, entries, rule))

    def _numbered(self, folder: str) -> list[str]:
        if not (self._root / folder).is_dir():
            return []
        return sorted(f"{folder}/{path.name}" for path in (self._root / folder).iterdir())

    def _json(self, name: str) -> tuple[Any, bytes]:
        data = read_file(self._root / name)
        return parse_json(data, name), data

    # --- the coordinator's notes -----------------------------------------------------------------

    def _check_note(self, decided: _Decided, name: str) -> None:
        chain_round = decided.found
        if chain_round.status is RoundStatus.VOID and not (self._root / name).exists():
            self._without_note.add(chain_round.round_id)
            return  # a fraud was proven, and the coordinator stopped before it noted that
        note, data = self._json(name)
        _require_keys(note, _NOTE_KEYS)
        _require_spelling(note, data)
        refusals = _texts(note["refusals"])
        if refusals != sorted(refusals):
            raise _WrongError("refusals: not in order of sender, code and message")
        self._notes[chain_round.round_id] = note
        words = ("sealed",) if chain_round.status.has_result else ("committed", "sealed", "void")
        if note["status"] not in words:
            raise _WrongError(f"status: found {note['status']!r}, expected {' or '.join(words)}")
        expected: dict[str, Any] = {"round": int(chain_round.round_id)}
        if chain_round.status.has_result:
            expected["reason"] = ""
            if chain_round.round_id in self._momenta:
                root = self._momenta[chain_round.round_id]
                expected["velocity"] = root.hex() if root else ""
        elif not isinstance(note["velocity"], str) or not _ROOT.fullmatch(note["velocity"]):
            raise _WrongError(f"velocity: found {note['velocity']!r}, expected a root or nothing")
        elif not self._is_reason(note["reason"], chain_round.round_id):
            expected["reason"] = self._chain.ledger.void_reason(chain_round.round_id)
        _require_equal(note, expected)

    def _is_reason(self, reason: Any, round_id: RoundId) -> bool:
        """Return whether a note may give this reason for a void round."""
        if not isinstance(reason, str):
            return False
        own = self._chain.federation.void_reason(round_id)
        if own in ("", _EXPIRED) or not reason:  # the note says more, or was written earlier
            return True
        return own in (reason, chain_reason(reason))

    def _check_attempt(self, name: str) -> None:
        note, data = self._json(name)
        _require_keys(note, {"attack", "refused", "round"})
        _require_spelling(note, data)
        _require_equal(note, {"round": round_of(name)})
        if not isinstance(note["attack"], str) or not isinstance(note["refused"], str):
            raise _WrongError("attack and refused: expected texts")

    # --- metrics ---------------------------------------------------------------------------------

    def _metrics(self) -> list[JsonObject] | None:
        """Compare each line; return the lines, ``None`` if they cannot be read as rows."""
        measured = self._metric_names()
        try:
            *lines, rest = read_file(self._root / METRICS).split(b"\n")
        except StoreError as error:
            self._findings.fault(None, METRICS, RULE, str(error))
            return None
        if rest or len(lines) != len(self._decided):
            detail = f"{len(lines)} whole lines, expected {len(self._decided)}"
            self._findings.fault(None, METRICS, RULE, detail)
            return None
        rows: list[JsonObject] = []
        for line, decided in zip(lines, self._decided, strict=True):
            number = int(decided.found.round_id)
            self._check(number, METRICS, partial(self._check_line, line, decided, measured, rows))
        return rows if len(rows) == len(lines) else None

    def _metric_names(self) -> list[str]:
        """Return what the experiment's metrics are recorded as: their names, or else their kinds.

        The experiment's own audit is elsewhere.
        """
        try:
            config, _ = self._json("config.json")
            return [str(table.get("name", table["kind"])) for table in config.get(MEASURED, [])]
        except (StoreError, VerificationError, AttributeError, LookupError, TypeError):
            return []

    def _check_line(
        self, line: bytes, decided: _Decided, measured: Sequence[str], rows: list[JsonObject]
    ) -> None:
        row: JsonObject = parse_json(line, METRICS)
        _require_keys(row, {*ROUND_COLUMNS, *([MEASURED] if measured else [])})
        if json.dumps(row, sort_keys=True).encode() != line:
            raise _WrongError("not spelled as a run spells it")
        _require_measured(row)
        if measured:
            tested = row["test_accuracy"] is not None
            _require_metrics(row[MEASURED], measured if tested else [])
        expected = dict(decided.figures or {})
        if _is_close(expected.get("train_loss"), row["train_loss"]):
            # A sum of floats may differ in its last digit under another version of Python.
            expected["train_loss"] = row["train_loss"]
        number = decided.found.round_id
        note = self._notes.get(number)
        if note is not None or number in self._without_note:
            codes = [row["code"] for row in note["refusals"]] if note else []
            expected["refusals"] = dict(sorted(Counter(codes).items()))
            reason = str(note["reason"]) if note else ""
            if decided.found.status is RoundStatus.VOID:
                reason = reason or self._chain.ledger.void_reason(number)
            expected["reason"] = reason
        expected["refused"] = sum(row["refusals"].values())
        _require_equal(row, expected)
        rows.append(row)

    def _check_table(self, rows: Sequence[JsonObject]) -> None:
        buffer = io.StringIO()
        names = sorted({name for row in rows for name in row.get(MEASURED, {})})
        columns = [*ROUND_COLUMNS, *(f"{MEASURED}.{name}" for name in names)]
        writer = csv.DictWriter(buffer, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            refusals = ";".join(f"{code}={n}" for code, n in sorted(row["refusals"].items()))
            own = {key: row[key] for key in ROUND_COLUMNS}
            values = {f"{MEASURED}.{name}": v for name, v in row.get(MEASURED, {}).items()}
            writer.writerow({**own, "refusals": refusals, **values})
        if read_file(self._root / TABLE) != buffer.getvalue().encode("utf-8", "surrogatepass"):
            raise _WrongError(f"does not hold the rows of {METRICS}")

    # --- people and money ------------------------------------------------------------------------

    def _check_contributors(self) -> None:
        people, data = self._json(CONTRIBUTORS)
        if not isinstance(people, list):
            raise _WrongError(f"found {type(people).__name__}, expected a list")
        _require_spelling(people, data)
        federation = self._chain.federation
        slashed, earned = slashed_wei(federation.events()), self._earned()
        accepted = Counter(e.leaf.contributor for d in self._decided for e in d.entries)
        whole = all(decided.figures is not None for decided in self._decided)
        for client, person in enumerate(people):
            _require_keys(person, _CONTRIBUTOR_KEYS)
            address = _address(person["address"])
            state = federation.account(address)
            expected: dict[str, Any] = {
                "client": client,
                "stake_wei": int(state.bond_wei),
                "claimed_wei": int(state.claimed_wei),
                "slashed_wei": slashed.get(address, 0),
            }
            if whole:
                expected["accepted"] = accepted[address]
            if earned is not None:
                expected["earned_wei"] = earned.get(address, 0)
            _require_equal(person, expected, f"client {client}")
            _require_counts(person["refusals"])
            if type(person["examples"]) is not int or person["examples"] < 0:
                raise _WrongError(f"client {client}: examples: expected a number from 0")
        addresses = [person["address"] for person in people]
        members = {*federation.members(federation.head().member_count)}
        if len({*addresses}) != len(addresses) or not members <= {*addresses}:
            raise _WrongError("not every member once")

    def _earned(self) -> Mapping[Address, int] | None:
        last = self._chain.ledger.head().last_settled
        if not last:
            return {}
        root = self._chain.ledger.round(last).rewards_root
        try:
            leaves = reward_leaves(self._store.get_document("rewards", root))
        except StoreError:
            return None  # the round's own audit reports it
        return {leaf.contributor: int(leaf.cumulative_wei) for leaf in leaves}

    def _check_coordinator(self) -> None:
        record, data = self._json(COORDINATOR)
        expected = coordinator_figures(self._chain.federation)
        expected["refused"] = [self._json(name)[0] for name in self._numbered("attempts")]
        _require_keys(record, {*expected})
        _require_equal(record, expected)
        _require_spelling(record, data)

    def _check_coordinates(self) -> None:
        record, data = self._json(COORDINATES)
        node, federation = self._chain.node, self._chain.federation
        expected = {
            "chain_id": node.genesis.chain_id,
            "contract": federation.address,
            "referee": federation.head().referee,
            "genesis": json.loads(node.genesis.to_json()),
            "head_block": node.head_number,
            "head_hash": "0x" + node.head.hash.hex(),
        }
        _require_keys(record, {*expected})
        _require_equal(record, expected)
        _require_spelling(record, data)


def _address(value: Any) -> Address:
    try:
        raw = address_bytes(value) if isinstance(value, str) else b""
    except ValueError:
        raw = b""
    if len(raw) != 20 or checksum_address(raw) != value:
        raise _WrongError(f"address: found {value!r}, expected an address with its checksum")
    return Address(value)


def _require_keys(record: Any, keys: set[str]) -> None:
    if not isinstance(record, dict) or {*record} != keys:
        found = sorted(record) if isinstance(record, dict) else type(record).__name__
        raise _WrongError(f"found {found}, expected an object with {sorted(keys)}")


def _require_spelling(record: Any, data: bytes) -> None:
    if json.dumps(record, indent=1, sort_keys=True).encode() + b"\n" != data:
        raise _WrongError("not spelled as a run spells it")


def _require_equal(record: JsonObject, expected: Mapping[str, Any], place: str = "") -> None:
    """Compare values with their types: 1, 1.0 and true differ."""
    for key, value in expected.items():
        if _spelled(record[key]) != _spelled(value):
            where = f"{place}: {key}" if place else key
            raise _WrongError(f"{where}: found {record[key]!r}, expected {value!r}")


def _is_close(first: Any, second: Any) -> bool:
    floats = isinstance(first, float) and isinstance(second, float)
    return floats and math.isclose(first, second, rel_tol=1e-9)


def _spelled(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _require_measured(row: JsonObject) -> None:
    """Check the form of values that are not on chain."""
    _require_counts(row["refusals"])
    for key, limit in (("test_loss", math.inf), ("test_accuracy", 1.0)):
        value = row[key]
        if value is None or (type(value) is float and (0.0 <= value <= limit or value != value)):
            continue  # a diverged model has a NaN loss
        raise _WrongError(f"{key}: found {value!r}, expected a number from 0 to {limit}")
    if type(row["seconds"]) is not float or not 0.0 <= row["seconds"] < math.inf:
        raise _WrongError(f"seconds: found {row['seconds']!r}, expected a time")


def _require_metrics(values: Any, measured: Sequence[str]) -> None:
    """Check the form of what metrics measured: one value or several of each, no others.

    ``measured`` is what the metrics are recorded as.
    """
    if not isinstance(values, dict):
        raise _WrongError(f"{MEASURED}: found {values!r}, expected numbers by name")
    for metric in measured:
        if metric not in values and not any(name.startswith(f"{metric}.") for name in values):
            raise _WrongError(f"{MEASURED}: found {sorted(values)}, expected a value of {metric}")
    for name, value in values.items():
        if not any(name == metric or name.startswith(f"{metric}.") for metric in measured):
            raise _WrongError(f"{MEASURED}: {name}: expected values of {sorted(measured)} only")
        if value is not None and not (type(value) is float and math.isfinite(value)):
            raise _WrongError(f"{MEASURED}: {name}: found {value!r}, expected a number or null")


def _require_counts(refusals: Any) -> None:
    if not isinstance(refusals, dict) or not all(
        type(count) is int and count > 0 for count in refusals.values()
    ):
        raise _WrongError(f"refusals: found {refusals!r}, expected a number for each code")


def _texts(refusals: Any) -> list[tuple[str, str, str]]:
    rows = []
    for row in refusals if isinstance(refusals, list) else [refusals]:
        _require_keys(row, {*_REFUSAL_KEYS})
        texts = (row["sender"], row["code"], row["message"])
        if not all(isinstance(text, str) for text in texts):
            raise _WrongError(f"refusals: found {row!r}, expected texts")
        rows.append(texts)
    return rows
