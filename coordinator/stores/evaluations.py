"""The coordinator's folder ``evaluations/``: one JSON file for each round that was evaluated.

Beside what the chain vouches for and no part of it: ``fedproof verify`` does not look there, and
nothing is decided by it. The files name participants and are for the coordinator's operator; what
others are shown is the summary. Thread-safe for one writer and many readers.
"""

import re
from collections import OrderedDict
from pathlib import Path
from typing import Final

from coordinator.local.files import unreadable
from coordinator.protocol.errors import StoreError, VerificationError
from coordinator.protocol.round.evaluation import EvaluationSummary
from coordinator.protocol.types import JsonObject, RoundId
from coordinator.stores.run_folder import FileJournal

EVALUATIONS: Final = "evaluations"
_FILE: Final = re.compile(r"[0-9]{6,}\.json")
_REMEMBERED: Final = 1_000


class EvaluationFolder:
    """Writes evaluations, and reads the summaries of the newest.

    Parameters
    ----------
    root
        The folder; made when the first evaluation is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._files = FileJournal(root)
        self._summaries: OrderedDict[RoundId, EvaluationSummary] = OrderedDict()
        self._newest: EvaluationSummary | None = None

    @property
    def newest(self) -> EvaluationSummary | None:
        """The evaluation of the latest round, as of the last read or write."""
        return self._newest

    def put(self, summary: EvaluationSummary, document: JsonObject) -> None:
        """Keep one round's evaluation, replacing an earlier one of that round.

        Raises
        ------
        StoreError
            If it cannot be written; the summary is shown all the same.
        """
        self._remember(summary)
        self._files.put(summary.round_id, document)

    def rounds(self) -> list[RoundId]:
        """Return the rounds that have an evaluation, in order.

        Raises
        ------
        StoreError
            If the folder cannot be listed.
        """
        try:
            names = [path.name for path in self.root.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise unreadable(self.root, error) from error
        return sorted(RoundId(int(n.removesuffix(".json"))) for n in names if _FILE.fullmatch(n))

    def last(self, count: int) -> list[EvaluationSummary]:
        """Return the summaries of the newest rounds that can be read, in order.

        One that cannot be read is left out: it is a note, and there are others.

        Raises
        ------
        StoreError
            If the folder cannot be listed.
        """
        readable = []
        for round_id in self.rounds()[-count:]:
            try:
                readable.append(self._summary(round_id))
            except (StoreError, VerificationError):
                continue
        return readable

    def _summary(self, round_id: RoundId) -> EvaluationSummary:
        known = self._summaries.get(round_id)
        if known is not None:
            return known
        document = self._files.get(round_id)
        summary = EvaluationSummary.from_json(document, f"evaluation of round {round_id}")
        self._remember(summary)
        return summary

    def _remember(self, summary: EvaluationSummary) -> None:
        self._summaries[summary.round_id] = summary
        while len(self._summaries) > _REMEMBERED:
            self._summaries.popitem(last=False)
        newest = self._newest
        if newest is None or newest.round_id <= summary.round_id:
            self._newest = summary
