"""Says who is one reply behind: to the log, to the metrics, in the status.

The SuperLink's guard notices (``coordinator.flower.instruction_order``); the service only tells. A
participant's own daemon puts it right within seconds; one that stays behind needs its operator.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from coordinator.flower.instruction_order import OrderReport
from coordinator.local.logs import fields

_log = logging.getLogger("fedproof.coordinator")


class NodeOrder:
    """Reads the guard's report now and then.

    Parameters
    ----------
    file
        Where it lies.
    accounts
        Returns the bonded account of each node that is connected.
    count
        Told how many more replies were out of step.
    show
        Told the accounts that are out of step now.
    """

    def __init__(
        self,
        file: Path,
        accounts: Callable[[], Mapping[int, str]],
        count: Callable[[int], None],
        show: Callable[[Iterable[str]], None],
    ) -> None:
        self._file, self._accounts = file, accounts
        self._count, self._show = count, show
        self._seen: dict[int, int] = {}

    def step(self) -> None:
        """Read the report, and tell what is new."""
        report, accounts = OrderReport.read(self._file), self._accounts()
        for node, late in report.late.items():
            before = self._seen.get(node, 0)
            # fewer than before: of the SuperLink's next life
            new = late - before if late >= before else late
            if new:
                self._count(new)
                _log.warning(
                    "a node answers an earlier instruction than its last: its replies come one "
                    "round late until its SuperNode is started again",
                    extra=fields(node=node, account=accounts.get(node, "unknown"), replies=late),
                )
        self._seen = dict(report.late)
        self._show(accounts[node] for node in report.behind if node in accounts)
