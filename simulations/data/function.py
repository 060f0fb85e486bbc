"""A loader function of one's own, called as a participant's is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, JsonValue

from clients.data.load import read_examples
from coordinator.settings.learning import Features
from coordinator.settings.participant import PythonData
from simulations.data.own_data import OwnData, OwnExamples


class FunctionData(OwnData, PythonData):
    """``module:function``, called with ``options``, returns features and labels.

    ``sites`` are further options, a table a site: the function is called once for each of them.
    ``test_options`` are those with which it returns the test part.
    """

    has_images: ClassVar[bool] = True

    kind: Literal["python"] = "python"
    sites: list[dict[str, JsonValue]] = Field(default=[])
    test_options: dict[str, JsonValue] = Field(default={})

    @property
    def site_names(self) -> tuple[str, ...]:
        """``site 0``, ``site 1``, ..."""
        return tuple(f"site {number}" for number in range(len(self.sites)))

    def examples(self, folder: Path) -> OwnExamples:
        """Call the function for every part."""
        parts = tuple(self._called(site) for site in self.sites or [{}])
        return OwnExamples(parts, self._called(self.test_options) if self.test_options else None)

    def _called(self, further: Mapping[str, Any]) -> Any:
        section = self.model_copy(update={"options": {**self.options, **further}})
        return read_examples(section, Features(), (), Path())
