"""Runs a Flower app on Fedproof's process pool: ``python run.py APP --nodes 4``, without Ray.

Like ``flwr run APP``: it reads the app's ``pyproject.toml``, and every node has a ``partition-id``.
"""

import argparse
import importlib
import sys
import tomllib
from pathlib import Path

from flwr.app import Context, RecordDict

from fedproof import PoolGrid


def main() -> None:
    """Run the app that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("app", type=Path, help="folder with the app's pyproject.toml")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--workers", type=int, default=None)
    given = parser.parse_args()
    settings = tomllib.loads((given.app / "pyproject.toml").read_text())["tool"]["flwr"]["app"]
    config = settings["config"]
    sys.path.insert(0, str(given.app))
    nodes = {i + 2: {"partition-id": i, "num-partitions": given.nodes} for i in range(given.nodes)}
    client = settings["components"]["clientapp"]
    with PoolGrid(client, nodes, workers=given.workers, run_config=config) as grid:
        module, _, name = settings["components"]["serverapp"].partition(":")
        server = getattr(importlib.import_module(module), name)
        server(grid, Context(1, 1, {}, RecordDict(), config))


if __name__ == "__main__":
    main()
