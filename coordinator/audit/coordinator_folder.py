"""Finds the parts of a coordinator's folder: cheap, since nothing of the chain is imported."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coordinator.settings.coordinator import load_coordinator

CHAIN: Final = "chain/chain.sqlite"
"""The embedded chain, in a coordinator's state."""
_SETTINGS: Final = "coordinator.toml"
_AGREEMENT: Final = "federation.json"


@dataclass(frozen=True, slots=True)
class CoordinatorFolder:
    """Where a coordinator keeps its settings, its agreement and its state."""

    settings: Path
    agreement: Path
    state: Path


def coordinator_folder(root: Path) -> CoordinatorFolder | None:
    """Return the coordinator's folders if ``root`` is a federation's folder or its state's.

    Returns ``None`` if it is neither.

    Raises
    ------
    ConfigError
        If its ``coordinator.toml`` is unusable.
    """
    if (root / _SETTINGS).is_file():
        file = root / _SETTINGS
        settings = load_coordinator(file)
        return CoordinatorFolder(file, root / settings.federation, root / settings.state)
    above = root.absolute().parent
    if (above / _SETTINGS).is_file() and not (root / _AGREEMENT).exists():
        folder = coordinator_folder(above)
        return folder if folder and folder.state.absolute() == root.absolute() else None
    return None
