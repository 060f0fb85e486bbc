"""Reads a folder of images with one sub-folder per class, and IDX files of images and labels.

Classes are numbered in the order of their names, unless the agreement lists them. Pixels become
``value / 255``, shape ``(channels, height, width)``. Not handled: resizing and augmentation.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from clients.data.examples import LocalData, Scaling, check_examples
from clients.data.idx import read_idx
from coordinator.protocol.errors import ConfigError

SUFFIXES = (".png", ".pgm", ".ppm", ".pnm", ".bmp")
"""Lossless formats only: the pixels of a JPEG depend on the decoder."""
MAX_IDX_ITEMS = 1 << 24
_MODES = {1: "L", 3: "RGB"}
_LEFT_BY_SYSTEMS: Final = ("__MACOSX", "Thumbs.db", "desktop.ini")


def read_image_folder(
    folder: Path,
    shape: tuple[int, ...],
    classes: Sequence[str],
    scaling: Scaling,
    *,
    grey: bool = False,
) -> LocalData:
    """Read all images of a folder whose sub-folders are the classes.

    Parameters
    ----------
    shape
        ``(channels, height, width)`` that every image must have; 1 channel is grey, 3 are RGB.
    classes
        Names of the sub-folders in order of class; empty for all existing ones, sorted: then the
        folder must have all classes of the model (:func:`~clients.data.examples.check_fits`).
    grey
        Whether to convert coloured images to grey if the model takes one channel.

    Raises
    ------
    ConfigError
        If a file or folder is missing, unexpected, not an image, or of another size; names it.
    """
    if len(shape) != 3 or shape[0] not in _MODES:
        raise ConfigError(
            f"{folder}: the federation's model takes examples of shape {shape}, expected images of "
            "(1 or 3 channels, height, width)"
        )
    names = list(classes) or class_folders(folder)
    unknown = sorted(set(class_folders(folder)) - set(names))
    if unknown:
        raise ConfigError(f"{folder / unknown[0]}: unknown class, expected {', '.join(names)}")
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        for path in _image_files(folder / name):
            images.append(_image(path, shape, grey))
            labels.append(label)
    if not images:
        raise ConfigError(f"{folder}: no images, expected sub-folders with {', '.join(SUFFIXES)}")
    read = check_examples(np.stack(images) / 255, np.array(labels), str(folder), scaling)
    return read if classes else replace(read, own_classes=tuple(names))


def read_idx_pair(
    images: Path, labels: Path, shape: tuple[int, ...], scaling: Scaling
) -> LocalData:
    """Read an IDX file of images (or of rows) and another of their labels.

    Parameters
    ----------
    shape
        Shape of one example: ``(1, height, width)``, or ``(features,)``.

    Raises
    ------
    ConfigError
        If a file is malformed or they do not match; names the file.
    """
    pixels = read_idx(images, shape[1:] if shape[0] == 1 else shape, MAX_IDX_ITEMS)
    values = read_idx(labels, (), MAX_IDX_ITEMS)
    if len(values) != len(pixels):
        raise ConfigError(
            f"{labels}: has {len(values)} labels, but {images.name} has {len(pixels)} items"
        )
    return check_examples(pixels.reshape(-1, *shape) / 255, values, str(images), scaling)


def first_image_shape(folder: Path, classes: Sequence[str], *, grey: bool) -> tuple[int, int, int]:
    """Return ``(channels, height, width)`` of a folder's first image, which all others must have.

    Raises
    ------
    ConfigError
        If there is no image in the folder, or the first cannot be read; names it.
    """
    for name in classes:
        for path in _image_files(folder / name):
            with _opened(path) as image:
                return 1 if grey or image.mode in ("L", "1") else 3, image.height, image.width
    raise ConfigError(f"{folder}: no images, expected sub-folders with {', '.join(SUFFIXES)}")


def class_folders(folder: Path) -> list[str]:
    """Return the sub-folders that are classes, sorted; ``ConfigError`` if there are none."""
    try:
        names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not _is_not_data(p))
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read: {error.strerror or error}") from error
    if not names:
        raise ConfigError(f"{folder}: no sub-folders, expected one for each class")
    return names


def _is_not_data(path: Path) -> bool:
    """Return whether a file was left beside the data by an operating system or archive program."""
    return path.name[0] == "." or path.name in _LEFT_BY_SYSTEMS


def _image_files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return  # a participant may have no example of a class
    for path in sorted(p for p in folder.iterdir() if not _is_not_data(p)):
        if path.suffix.lower() not in SUFFIXES:
            raise ConfigError(f"{path}: expected an image, one of {', '.join(SUFFIXES)}")
        yield path


def _image(path: Path, shape: tuple[int, ...], grey: bool) -> NDArray[np.uint8]:
    channels, height, width = shape
    with _opened(path) as image:
        # The size in the header is checked before any pixel is decoded.
        if (image.width, image.height) != (width, height):
            raise ConfigError(
                f"{path}: {image.width}x{image.height} pixels, expected {width}x{height}"
            )
        if image.mode not in ("L", "RGB", "1"):
            raise ConfigError(f"{path}: pixels of kind {image.mode}, expected 8-bit grey or RGB")
        if channels == 1 and image.mode == "RGB" and not grey:
            raise ConfigError(f"{path}: coloured, expected grey (or set data.grey)")
        pixels = np.asarray(image.convert(_MODES[channels]), np.uint8)
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image, and say what is wrong with it if it cannot be read."""
    try:
        with Image.open(path) as image:
            yield image
    except UnidentifiedImageError as error:
        raise ConfigError(f"{path}: not an image") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ConfigError(f"{path}: cannot be decoded: {error}") from error
