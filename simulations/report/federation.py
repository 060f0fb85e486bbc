"""Writes the report of a founded federation from its coordinator's folder.

Rounds and money are read from the chain, refusals from the coordinator's notes, accuracy and loss
from what participants claimed of their own test data. Nothing is executed again: ``fedproof
verify`` does that.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from coordinator.audit.coordinator_folder import CoordinatorFolder
from coordinator.audit.folder_reader import FolderContents, read_folder
from coordinator.ledger.run_figures import coordinator_figures, round_figures, slashed_wei
from coordinator.local.files import write_durably
from coordinator.protocol.amounts import ether
from coordinator.protocol.commitments.documents import contributor_entries, reward_leaves
from coordinator.protocol.errors import BlobMissingError
from coordinator.protocol.round.chain_round import ChainRound, RoundStatus
from coordinator.protocol.round.evaluation import ACCURACY, LOSS, EvaluationSummary
from coordinator.protocol.types import Address, ContributorEntry, JsonObject, RoundId
from simulations.report.coordinator import coordinator_lines
from simulations.report.figures import draw_accuracy, draw_money
from simulations.report.markdown import contributor_lines, counts
from simulations.report.records import ContributorRecord, RoundRecord

CLAIMS: Final = (
    "Accuracy and loss are what participants claim of the model on test data of their own. Nobody "
    "else can verify them, and nothing was decided or paid by them."
)
PUBLIC: Final = (
    "The public set is the agreed one: whoever has it and the model, both published, can compute "
    "the coordinator's figure again."
)
_MOST_EVALUATIONS: Final = 1_000_000


def write_federation_report(folder: CoordinatorFolder, out: Path) -> Path:
    """Draw the plots of a federation and write its report into ``out``.

    Returns
    -------
    Path of ``report.md``.

    Raises
    ------
    ConfigError
        If a file of the folder is missing or malformed.
    LedgerError
        If the chain cannot be copied or does not answer.
    StoreError
        If a file cannot be read, or the report cannot be written.
    """
    with read_folder(folder) as contents:
        made = _Figures(contents)
        rounds, people = made.rounds(), made.contributors()
        name = contents.agreement.name
        if made.evaluations:
            title = f"{name}: accuracy, as participants claim"
            draw_accuracy(rounds, title, out / "plots" / "accuracy.png", claimed=True)
        coordinator = {**coordinator_figures(contents.federation), "refused": []}
        money = out / "plots" / "stakes_rewards.png"
        draw_money(people, coordinator, f"{name}: stakes and rewards", money)
        said = coordinator_lines(coordinator)
        text = "\n".join(_lines(contents, made, rounds, people, said)) + "\n"
    path = out / "report.md"
    write_durably(path, [text.encode()], mode=None)
    return path


class _Figures:
    """Builds the records of a federation's rounds and members."""

    def __init__(self, contents: FolderContents) -> None:
        self._contents = contents
        newest = contents.evaluations.last(_MOST_EVALUATIONS)
        self.evaluations = {summary.round_id: summary for summary in newest}
        self._accepted: Counter[Address] = Counter()
        self._examples: dict[Address, int] = {}
        self._refusals: dict[str, Counter[str]] = {}

    def rounds(self) -> list[RoundRecord]:
        """Return the records of all rounds, in order."""
        newest = self._contents.federation.head().last_opened
        return [self._round(RoundId(number)) for number in range(1, newest + 1)]

    def evaluation(self, record: RoundRecord) -> EvaluationSummary | None:
        """Return the evaluation of the model that a round ended with, if there is one."""
        summary = self.evaluations.get(RoundId(record.round))
        return summary if summary and summary.model_root.hex() == record.model_root else None

    def _round(self, round_id: RoundId) -> RoundRecord:
        contents = self._contents
        state = contents.federation.round(round_id)
        entries = self._entries(state)
        notes = self._notes(round_id)
        refusals = Counter(str(row["code"]) for row in notes["refusals"])
        for entry in entries:
            self._accepted[entry.leaf.contributor] += 1
            self._examples[entry.leaf.contributor] = entry.leaf.examples
        for row in notes["refusals"]:
            sender = str(row["sender"]).removesuffix(" (unproven)")
            self._refusals.setdefault(sender, Counter())[str(row["code"])] += 1
        record = RoundRecord(
            **round_figures(state, entries, contents.agreement.core_rule),
            reason=self._void_reason(state, notes),
            refused=sum(refusals.values()),
            refusals=dict(sorted(refusals.items())),
            test_loss=None,
            test_accuracy=None,
            seconds=0.0,
        )
        return self._with_claims(record)

    def _with_claims(self, record: RoundRecord) -> RoundRecord:
        said = self.evaluation(record)
        if said is None:
            return record
        return replace(record, test_loss=said.mean(LOSS), test_accuracy=said.mean(ACCURACY))

    def _entries(self, state: ChainRound) -> list[ContributorEntry]:
        if not state.status.has_result:
            return []
        document = self._contents.store.get_document("contributors", state.contributors_root)
        return contributor_entries(document)

    def _notes(self, round_id: RoundId) -> JsonObject:
        """Return the coordinator's notes; there are none of an open round, or after a crash."""
        try:
            return {"reason": "", "refusals": [], **self._contents.journal.get(round_id)}
        except BlobMissingError:
            return {"reason": "", "refusals": []}

    def _void_reason(self, state: ChainRound, notes: JsonObject) -> str:
        if state.status is not RoundStatus.VOID:
            return ""
        return str(notes["reason"]) or self._contents.federation.void_reason(state.round_id)

    def contributors(self) -> list[ContributorRecord]:
        """Return the records of all who ever joined, in order; after :meth:`rounds`."""
        federation = self._contents.federation
        earned, slashed = self._earned(), slashed_wei(federation.events())
        names = {address.lower(): name for address, name in self._contents.names.items()}
        return [
            ContributorRecord(
                client=number,
                label=names.get(address.lower(), f"member {number}"),
                address=address,
                behaviour="",
                examples=self._examples.get(address, 0),
                stake_wei=int(federation.account(address).bond_wei),
                slashed_wei=slashed.get(address, 0),
                earned_wei=earned.get(address, 0),
                claimed_wei=int(federation.account(address).claimed_wei),
                accepted=self._accepted.get(address, 0),
                refusals=dict(sorted(self._refusals.get(address, Counter()).items())),
            )
            for number, address in enumerate(federation.members(), 1)
        ]

    def _earned(self) -> Mapping[Address, int]:
        root = self._contents.federation.head().rewards_root
        if not any(root):
            return {}
        leaves = reward_leaves(self._contents.store.get_document("rewards", root))
        return {leaf.contributor: int(leaf.cumulative_wei) for leaf in leaves}


def _lines(
    contents: FolderContents,
    made: _Figures,
    rounds: Sequence[RoundRecord],
    people: Sequence[ContributorRecord],
    coordinator: Sequence[str],
) -> Iterator[str]:
    agreement, block = contents.agreement, contents.federation.block()
    yield f"# {agreement.name}"
    yield ""
    yield f"- contract `{agreement.contract}` on chain {agreement.chain_id}, "
    yield f"  head block {block.number} `0x{block.hash.hex()}`"
    yield f"- agreement `{agreement.digest.hex()}`"
    claimed = [record for record in rounds if record.test_accuracy is not None]
    if claimed:
        last = claimed[-1]
        yield f"- accuracy after round {last.round}, as claimed: **{last.test_accuracy:.1%}**"
    yield ""
    yield "## Rounds"
    yield ""
    is_evaluated = bool(made.evaluations)
    if is_evaluated:
        yield CLAIMS
        if any(said.public for said in made.evaluations.values()):
            yield PUBLIC
        yield ""
        yield "![accuracy per round](plots/accuracy.png)"
        yield ""
    is_public = any(said.public for said in made.evaluations.values())
    extra = (" accuracy | loss | of asked |", "---:|---:|---:|") if is_evaluated else ("", "")
    if is_public:
        extra = (f"{extra[0]} public set |", f"{extra[1]}---:|")
    yield f"| round | status | contributors | refused |{extra[0]} paid | model root |"
    yield f"|---:|---|---:|---|{extra[1]}---:|---|"
    for record in rounds:
        said = made.evaluation(record)
        cells = _claimed(said) if is_evaluated else ""
        cells += f" {_public(said)} |" if is_public else ""
        status = record.status + (f": {record.reason}" if record.reason else "")
        root = f"`{record.model_root[:16]}`" if record.model_root else ""
        yield (
            f"| {record.round} | {status} | {record.contributors} | {counts(record.refusals)} |"
            f"{cells} {ether(record.paid_wei)} | {root} |"
        )
    yield ""
    yield from contributor_lines(people)
    if coordinator:
        yield ""
        yield "## Coordinator"
        yield ""
        for line in coordinator:
            yield f"- {line}"


def _claimed(said: EvaluationSummary | None) -> str:
    if said is None:
        return " | | |"
    accuracy, loss = said.mean(ACCURACY), said.mean(LOSS)
    shown = ("" if accuracy is None else f"{accuracy:.1%}", "" if loss is None else f"{loss:.4f}")
    return f" {shown[0]} | {shown[1]} | {said.answered} of {said.asked} |"


def _public(said: EvaluationSummary | None) -> str:
    return "" if said is None or said.public is None else f"{said.public.accuracy:.1%}"
