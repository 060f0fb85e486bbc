"""``python -m simulations`` is the ``fedproof`` command, where no script is installed."""

from simulations.cli import main

if __name__ == "__main__":
    main()
