"""The settings of a federation for a user's own Flower app: all but data, model and training.

They are the ``config.json`` of its folder, whose digest is bound on chain. Not handled: the app's
training, of which only the updates are checked.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from coordinator.settings.agreement import Digest
from coordinator.settings.load import validated
from simulations.experiment.base import SimulatedFederation

Contributors = Annotated[int, Field(ge=1, le=10_000)]
"""Limited because the genesis block holds a balance for every contributor."""
CONFIG_ARGUMENT = "config"


class AppFederation(SimulatedFederation):
    """The pool is funded for ``rounds`` rounds; an app may run fewer."""

    format: Literal["fedproof-app-1"] = "fedproof-app-1"
    name: str = Field(default="app", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    rounds: int = Field(default=1_000, ge=1, le=1_000_000)
    contributors: Contributors
    initial_model_root: Digest

    @property
    def clients(self) -> int:
        """Number of contributors."""
        return self.contributors

    @property
    def clients_key(self) -> str:
        """Key of the number of contributors, for messages."""
        return "contributors"

    def contradictions(self) -> Iterator[str]:
        """Yield a sentence for each contradiction between sections."""
        yield from super().contradictions()
        if self.cohort.size != self.contributors:
            yield (
                f"cohort.size = {self.cohort.size}: expected none; the strategy draws the cohort "
                "(fraction_train)"
            )
        if self.scoring.evaluation_size:
            yield (
                f"scoring.kind = {self.scoring.kind!r} scores on an evaluation set of the "
                "coordinator's, and a federation for your own app has none"
            )


def app_federation(raw: Mapping[str, Any], source: str = CONFIG_ARGUMENT) -> AppFederation:
    """Return the settings in a mapping.

    Raises
    ------
    ConfigError
        Naming ``source``, the key, what was found and what was expected.
    """
    return validated(AppFederation, raw, source, ())
