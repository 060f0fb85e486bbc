"""The model of a federation to be founded: made from the file, quantised, and what is agreed of it.

Not handled: the examples that it is evaluated on.
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from coordinator.models.architecture import architecture
from coordinator.protocol.errors import ConfigError, MalformedUpdateError
from coordinator.protocol.scores.architecture import Architecture
from coordinator.service.agreement import AgreedModel, agreed_model
from coordinator.settings.agreement import AgreedModule
from coordinator.settings.founding import Founding

if TYPE_CHECKING:
    from coordinator.models.shared import SharedModel


@dataclass(frozen=True)
class FirstModel:
    """What a founding file's ``[model]`` comes to.

    ``architecture`` is ``None`` for a module of one's own, ``module`` for a model of layers.
    """

    founding: Founding
    made: "SharedModel"
    quantised: AgreedModel
    architecture: Architecture | None
    module: AgreedModule | None

    def in_integers(self, score: str) -> Architecture:
        """Return what a score evaluates; raises ``ConfigError`` if integers cannot repeat it."""
        from coordinator.models.build import integer_architecture

        section, bits = self.founding.input, self.founding.numbers.scale_bits
        shape = tuple(section.shape)
        return integer_architecture(
            self.founding.model, self.made, shape, section.classes, bits, score
        )


def first_model(founding: Founding) -> FirstModel:
    """Make a federation's model; the file and its seed decide all of it.

    Raises
    ------
    ConfigError
        If model and input do not fit, or a module of one's own fails its trial.
    """
    from coordinator.models.build import build_model, try_own_model  # torch, only when needed

    config, shape, classes = founding.model, tuple(founding.input.shape), founding.input.classes
    make = partial(_made, build_model, founding)
    made = make()
    if config.is_own:
        try_own_model(config, make, shape, classes)
        _check_batches(founding, made)
    try:
        quantised = agreed_model(made.arrays(), founding.numbers)
    except MalformedUpdateError as error:  # no contributor's fault, but a setting's
        raise ConfigError(f"{config.place}: {error}") from error
    if config.layers(shape, classes) is None:
        return FirstModel(founding, made, quantised, None, _agreed_module(founding, made))
    described = architecture(config, shape, classes, founding.numbers.scale_bits)
    return FirstModel(founding, made, quantised, described, None)


def _made(build_model: Any, founding: Founding) -> "SharedModel":
    rng = np.random.Generator(np.random.PCG64(founding.seed))
    made: SharedModel = build_model(
        founding.model, tuple(founding.input.shape), founding.input.classes, rng
    )
    return made


def _agreed_module(founding: Founding, made: "SharedModel") -> AgreedModule:
    from coordinator.models.agreed import agreed_buffers

    by_structure = founding.model_agreed_by == "structure"
    return AgreedModule(
        section=founding.model.model_dump(mode="json"),
        input_shape=founding.input.shape,
        classes=founding.input.classes,
        structure=made.structure().hex() if by_structure else "",
        buffers=agreed_buffers(made, founding.model.place),
    )


def _check_batches(founding: Founding, made: "SharedModel") -> None:
    from coordinator.models.networks import least_batch

    least = least_batch(made.module)
    if founding.training.batch_size < least:
        raise ConfigError(
            f"training.batch_size = {founding.training.batch_size}, but {founding.model.place} has "
            f"batch norm, which needs at least {least} examples in a batch"
        )
