"""NumPy arrays of one's own, read as a participant's are; nothing is unpickled."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from coordinator.settings.participant import NumpyData
from simulations.data.own_data import OwnFiles


class NumpyArrays(OwnFiles, NumpyData):
    """An ``.npz`` with two arrays, or two ``.npy`` files, or ``sites`` with an ``.npz`` each.

    The test part may be in files of its own (``test_path``, ``test_labels_path``), or be further
    arrays of the same ``.npz`` (``test_features``, ``test_labels``).
    """

    has_images: ClassVar[bool] = True

    kind: Literal["numpy"] = "numpy"
    path: str = ""
    test_labels_path: str = ""
    test_features: str = ""
    test_labels: str = ""

    def faults(self) -> Iterator[str]:
        """Yield what names half a pair of arrays."""
        yield from super().faults()
        if self.labels_path and self.sites:
            yield "data.labels_path goes with data.path; expected an .npz with both arrays a site"
        if self.test_labels_path and not self.test_path:
            yield "data.test_labels_path goes with data.test_path, which is missing"
        elif self.test_path and bool(self.labels_path) != bool(self.test_labels_path):
            yield (
                "data.labels_path and data.test_labels_path: expected both (.npy files) or none "
                "(.npz files)"
            )
        if self.sites and not self.test_path and (self.test_features or self.test_labels):
            yield "data.test_features, data.test_labels: need data.test_path where there are sites"

    def section(self, path: str) -> NumpyData:
        """Return the section of one file."""
        return self.model_copy(update={"path": path})

    def test_section(self) -> NumpyData | None:
        """Return the section of the test part, ``None`` if it is taken from the other files."""
        if not (self.test_path or self.test_features or self.test_labels):
            return None
        return self.model_copy(
            update={
                "path": self.test_path or self.path,
                "labels_path": self.test_labels_path,
                "features": self.test_features or self.features,
                "labels": self.test_labels or self.labels,
            }
        )
