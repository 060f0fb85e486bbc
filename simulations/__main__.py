"""``python -m simulations`` is the ``fedproof`` command, for use without its installed script.

The command's modules are imported when it runs, not with this module: worker processes import the
main module of their parent, and need none of them.
"""

import signal
import sys

_DAEMONS = ("coordinator", "client")


def main() -> None:
    """Run the command; a signal during the import, which takes seconds, prints no traceback."""
    if sys.argv[1:2] and sys.argv[1] in _DAEMONS:  # they install their own handler later
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
