"""Reader for the IDX format of MNIST-like data, gzip-compressed if named ``.gz``.

An IDX file is two zero bytes, a type code, the number of dimensions, each dimension as a
big-endian uint32, then the values in C order (Y. LeCun, "The MNIST database"). Only unsigned
bytes (type 0x08) are supported. The header is checked against the caller's expectation before the
values are read, so a forged size costs no memory.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from coordinator.protocol.errors import ConfigError

UNSIGNED_BYTE = 0x08


def read_idx(path: Path, item_shape: tuple[int, ...], max_items: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes.

    Parameters
    ----------
    path
        The file; compressed if its name ends in ``.gz``.
    item_shape
        Shape of one item: ``()`` for labels, ``(28, 28)`` for images.
    max_items
        The largest number of items that the header may declare.

    Returns
    -------
    Shape ``(items, *item_shape)``.

    Raises
    ------
    ConfigError
        If the file is not gzip, has a wrong magic number or dimension, is too short or too long,
        or unreadable; names the file.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            return _read(stream, path, item_shape, max_items)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ConfigError(f"{path}: corrupt or truncated gzip file: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def _read(
    stream: BinaryIO | gzip.GzipFile, path: Path, item_shape: tuple[int, ...], max_items: int
) -> NDArray[np.uint8]:
    expected = struct.pack(">HBB", 0, UNSIGNED_BYTE, 1 + len(item_shape))
    magic = stream.read(4)
    if magic != expected:
        raise ConfigError(
            f"{path}: not an IDX file of this kind: magic number is {magic.hex() or 'missing'}, "
            f"expected {expected.hex()}"
        )
    dimensions = _dimensions(stream, path, 1 + len(item_shape))
    if dimensions[1:] != item_shape or not 1 <= dimensions[0] <= max_items:
        raise ConfigError(
            f"{path}: IDX dimensions are {dimensions}, expected 1 to {max_items} items of "
            f"shape {item_shape}"
        )
    size = math.prod(dimensions)
    values = stream.read(size + 1)
    if len(values) != size:
        amount = "more" if len(values) > size else f"only {len(values)}"
        raise ConfigError(f"{path}: IDX header promises {size} bytes of values, found {amount}")
    return np.frombuffer(values, dtype=np.uint8).reshape(dimensions)


def _dimensions(stream: BinaryIO | gzip.GzipFile, path: Path, count: int) -> tuple[int, ...]:
    header = stream.read(4 * count)
    if len(header) != 4 * count:
        raise ConfigError(
            f"{path}: IDX header ends after {4 + len(header)} bytes, expected {4 + 4 * count}"
        )
    return struct.unpack(f">{count}I", header)
