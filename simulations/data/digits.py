"""The handwritten digits of scikit-learn: no folder, no download."""

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from simulations.data.base import DataSource, Fraction01
from simulations.data.dataset import Dataset, assemble, split_by_class

PIXEL_MAX = 16.0


class DigitsData(DataSource):
    """The 1,797 digit images of 8x8 pixels that ship with scikit-learn; 10 classes."""

    has_images: ClassVar[bool] = True

    kind: Literal["digits"] = "digits"
    test_fraction: Fraction01 = 0.2

    def load(self, folder: Path | None, rng: np.random.Generator) -> Dataset:
        """Load 1,797 handwritten digits as ``(1, 8, 8)`` images with values from 0 to 1."""
        from sklearn import datasets  # here only, since the import takes 2 s and 100 MB

        bunch = datasets.load_digits()
        x = (bunch.images / PIXEL_MAX).astype(np.float32)[:, None, :, :]
        y = bunch.target.astype(np.int64)
        names = tuple(str(digit) for digit in range(10))
        return assemble("digits", x, y, names, split_by_class(y, self.test_fraction, rng))
