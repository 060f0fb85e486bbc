"""``--wait``: an operator's command that stays until the contract takes what it would send."""

import time
from collections.abc import Callable
from typing import Annotated, Final

import typer
from rich.console import Console

from coordinator.protocol.errors import ChainUnavailableError

Wait = Annotated[
    bool, typer.Option("--wait", help="Wait until it is possible, then do it; Ctrl-C gives up.")
]
_POLL_S: Final = 2.0
_NOTES: Final = Console(stderr=True, highlight=False, soft_wrap=True)


def wait_until(look: Callable[[], str | None]) -> None:
    """Look again and again until there is nothing to wait for; say on standard error what is.

    Parameters
    ----------
    look
        Returns what is still to be waited for, ``None`` when nothing is. What it raises ends the
        waiting, except that the node does not answer: a wait may outlast a restart of it.
    """
    said = ""
    while (reason := _reason(look)) is not None:
        if reason != said:
            _NOTES.print(f"waiting: {reason}", markup=False)
            said = reason
        time.sleep(_POLL_S)


def _reason(look: Callable[[], str | None]) -> str | None:
    try:
        return look()
    except ChainUnavailableError as error:
        return str(error)
