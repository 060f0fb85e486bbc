"""``python -m simulations`` is the ``fedproof`` command, where no script is installed.

The command's modules are imported when it runs, not with this module: worker processes import
whatever module their parent was started as, and need none of them.
"""

import signal
import sys

_DAEMONS = ("coordinator", "client")


def main() -> None:
    """Run the command, which takes seconds to be loaded; a signal ends it quietly meanwhile."""
    if sys.argv[1:2] and sys.argv[1] in _DAEMONS:  # until they listen to it themselves
        signal.signal(signal.SIGTERM, _end)
    try:
        from simulations.cli import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


def _end(_number: int, _frame: object) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    main()
