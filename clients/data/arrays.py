"""Reads NumPy files: ``.npz`` with two named arrays, or two ``.npy`` files; never unpickles."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.data.examples import LocalData, Scaling, check_examples
from coordinator.protocol.errors import ConfigError

Array = NDArray[Any]


def read_npz(path: Path, features: str, labels: str, scaling: Scaling) -> LocalData:
    """Read examples from two arrays of one ``.npz`` file.

    Raises
    ------
    ConfigError
        If an array is missing, pickled or not one of numbers; names file and array.
    """
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise ConfigError(f"{path}: a single array, expected an .npz archive of arrays")
        with archive:
            x, y = (_member(archive, name, path) for name in (features, labels))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(path, error) from error
    return check_examples(x, y, str(path), scaling)


def read_npy(features: Path, labels: Path, scaling: Scaling) -> LocalData:
    """Read examples from a ``.npy`` file of features and one of labels.

    Raises
    ------
    ConfigError
        If a file is missing, pickled or not an array of numbers; names it.
    """
    return check_examples(_array(features), _array(labels), str(features), scaling)


def _array(path: Path) -> Array:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(array, np.ndarray):
        raise ConfigError(f"{path}: an archive of arrays, expected a single .npy array")
    return array


def _member(archive: Any, name: str, path: Path) -> Array:
    if name not in archive.files:
        raise ConfigError(f"{path}: no array {name!r}, found {', '.join(sorted(archive.files))}")
    member: Array = archive[name]
    return member


def _unreadable(path: Path, error: Exception) -> ConfigError:
    if isinstance(error, OSError):
        return ConfigError(f"{path}: cannot be read: {error.strerror or error}")
    if "allow_pickle" in str(error) or "pickle" in str(error).lower():
        return ConfigError(
            f"{path}: holds pickled objects, which are never loaded; expected arrays of numbers"
        )
    return ConfigError(f"{path}: not a NumPy file: {error}")
