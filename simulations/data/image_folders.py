"""Folders of images of one's own with a sub-folder for each class, read as a participant's are."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal, Self

from coordinator.settings.learning import Features
from coordinator.settings.participant import ImageFolderData
from simulations.data.own_data import OwnFiles


class ImageFolders(OwnFiles, ImageFolderData):
    """A folder with a sub-folder for each class, or ``sites`` with such a folder each.

    Without ``classes`` they are the sub-folders of all these folders together, sorted: a site that
    lacks a class numbers the others as the rest do. The first image says what size all have.
    """

    has_images: ClassVar[bool] = True

    kind: Literal["images"] = "images"
    path: str = ""

    @property
    def class_list(self) -> tuple[str, ...]:
        """The classes listed, or found."""
        return tuple(self.classes)

    def faults(self) -> Iterator[str]:
        """Yield a number of classes that is not the number of those listed."""
        yield from super().faults()
        if self.classes and self.num_classes not in (0, len(self.classes)):
            yield (
                f"data.num_classes = {self.num_classes}, but data.classes lists {len(self.classes)}"
            )

    def section(self, path: str) -> ImageFolderData:
        """Return the section of one folder."""
        return self.model_copy(update={"path": path})

    def resolved(self, folder: Path) -> tuple[Self, Features, tuple[int, ...]]:
        """Number the classes for all folders alike; take the size from the first image."""
        from clients.data.images import class_folders, first_image_shape  # Pillow, only here

        folders = [folder / path for path in (*self.paths, self.test_path) if path]
        names = self.classes or sorted({name for one in folders for name in class_folders(one)})
        shape = first_image_shape(folders[0], names, grey=self.grey)
        return self.model_copy(update={"classes": names}), self.agreed([]), shape
