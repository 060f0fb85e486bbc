"""``--wait``: an operator's command waits until the contract accepts its transaction."""

import time
from collections.abc import Callable
from typing import Annotated, Final

import typer
from rich.console import Console

from coordinator.protocol.errors import ChainUnavailableError

Wait = Annotated[
    bool, typer.Option("--wait", help="Wait until it is possible, then send; Ctrl-C cancels.")
]
_POLL_S: Final = 2.0
_NOTES: Final = Console(stderr=True, highlight=False, soft_wrap=True)


def wait_until(check: Callable[[], str | None]) -> None:
    """Poll until there is nothing to wait for; print each new reason to standard error.

    Parameters
    ----------
    check
        Returns the reason to wait, ``None`` if there is none. Its exceptions end the wait, except
        that the node does not answer: a wait may outlast a restart of the node.
    """
    printed = ""
    while (reason := _reason(check)) is not None:
        if reason != printed:
            _NOTES.print(f"waiting: {reason}", markup=False)
            printed = reason
        time.sleep(_POLL_S)


def _reason(check: Callable[[], str | None]) -> str | None:
    try:
        return check()
    except ChainUnavailableError as error:
        return str(error)
