"""Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747) from its four IDX files."""

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from clients.data.idx import read_idx
from coordinator.protocol.errors import ConfigError
from simulations.data.base import FolderData
from simulations.data.dataset import Dataset

SUBFOLDER = "fashion-mnist"
FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
IMAGE_SHAPE = (28, 28)
MAX_IMAGES = 60_000
CLASS_NAMES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
# The pixels' published mean and deviation (values 0 to 1): public constants, so that no
# contributor has to reveal statistics of its own images.
PIXEL_MEAN = 0.2860
PIXEL_DEVIATION = 0.3530


class FashionMnistData(FolderData):
    """Fashion-MNIST, 28x28 pixels, 10 classes, from ``fashion-mnist/`` of the data folder."""

    has_images: ClassVar[bool] = True

    kind: Literal["fashion_mnist"] = "fashion_mnist"

    def load(self, folder: Path | None, rng: np.random.Generator) -> Dataset:
        """Load 60,000 + 10,000 images of shape ``(1, 28, 28)``, standardised by public constants.

        Raises
        ------
        ConfigError
            If a file is missing, corrupt, or does not fit the others.
        """
        paths = self.data_folder(folder).files(SUBFOLDER, FILES)
        train_x, train_y = _part(paths[0], paths[1])
        test_x, test_y = _part(paths[2], paths[3])
        return Dataset(
            name="fashion_mnist",
            train_x=train_x,
            train_y=train_y,
            test_x=test_x,
            test_y=test_y,
            num_classes=len(CLASS_NAMES),
            input_shape=(1, *IMAGE_SHAPE),
            class_names=CLASS_NAMES,
        )


def _part(images_path: Path, labels_path: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    images = read_idx(images_path, IMAGE_SHAPE, MAX_IMAGES)
    labels = read_idx(labels_path, (), MAX_IMAGES)
    if len(images) != len(labels):
        raise ConfigError(
            f"{labels_path}: has {len(labels)} labels, but {images_path.name} has {len(images)} "
            "images"
        )
    if int(labels.max()) >= len(CLASS_NAMES):
        raise ConfigError(
            f"{labels_path}: label {labels.max()} found, expected 0 to {len(CLASS_NAMES) - 1}"
        )
    pixels = images[:, None, :, :].astype(np.float32)
    pixels /= 255.0
    pixels -= PIXEL_MEAN
    pixels /= PIXEL_DEVIATION
    return pixels, labels.astype(np.int64)
