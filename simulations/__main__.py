"""``python -m simulations`` is the ``fedproof`` command, where no script is installed.

The command's modules are imported when it runs, not with this module: worker processes import
whatever module their parent was started as, and need none of them.
"""


def main() -> None:
    """Run the command."""
    from simulations.cli import main as run

    run()


if __name__ == "__main__":
    main()
