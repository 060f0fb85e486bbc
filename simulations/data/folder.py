"""Finds the files of a data set in the data folder, or names the first that is missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coordinator.protocol.errors import ConfigError

FOLDER_VARIABLE = "FEDPROOF_DATA"


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The data folder, and the option that named it; ``path`` is ``None`` if none did."""

    path: Path | None
    named_by: str

    def files(self, subfolder: str, names: Sequence[str]) -> list[Path]:
        """Return the paths of a data set's files, in the order of ``names``.

        They are expected in ``subfolder`` of the data folder, or, if there is no such folder, in
        the data folder itself.

        Raises
        ------
        ConfigError
            Naming the folder or the first missing file, the layout that is expected, and the
            option to give.
        """
        layout = f"expected {subfolder}/ with {', '.join(names)} in the data folder"
        if self.path is None:
            raise ConfigError(
                f"no data folder given: {layout}; give it by --data FOLDER, data.folder or "
                f"{FOLDER_VARIABLE}"
            )
        if not self.path.is_dir():
            raise ConfigError(f"{self.named_by} {self.path}: no such folder; {layout}")
        inner = self.path / subfolder
        place = inner if inner.is_dir() else self.path
        paths = [place / name for name in names]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise ConfigError(f"{missing[0]}: no such file ({self.named_by}); {layout}")
        return paths
