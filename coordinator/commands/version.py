"""``fedproof version``: what is installed, for bug reports and run folders."""

import platform
from importlib import metadata
from typing import Annotated

import typer

from coordinator import __version__
from coordinator.commands.output import console, print_json

PACKAGES = ("flwr", "torch", "web3", "py-evm", "numpy", "numba", "coincurve", "scikit-learn")


def versions() -> dict[str, str]:
    """Return the versions that a result may depend on, by package."""
    ours = {"fedproof": __version__, "python": platform.python_version()}
    return ours | {name: metadata.version(name) for name in PACKAGES}


def version(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the versions of Fedproof and of the packages it depends on.

    Example: [bold]fedproof version --json[/bold]

    Exit status: 0.
    """
    if as_json:
        print_json(versions())
        return
    for name, value in versions().items():
        console.print(f"{name:14} {value}")
