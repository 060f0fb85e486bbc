"""The model of a federation to be founded: made from the file, quantised, and what is agreed of it.

Not handled: the examples that it is evaluated on.
"""

from collections.abc import Mapping, Sequence
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

    ``architecture`` is ``None`` for a module of one's own, ``module`` for a model of layers;
    ``made`` is ``None`` where there are values only.
    """

    founding: Founding
    made: "SharedModel | None"
    quantised: AgreedModel
    architecture: Architecture | None
    module: AgreedModule | None

    def in_integers(self, score: str) -> Architecture:
        """Return what a score evaluates; raises ``ConfigError`` if integers cannot repeat it."""
        from coordinator.models.build import integer_architecture

        if self.made is None:
            raise ConfigError(
                f'scoring.kind = "{score}" evaluates the model, but {self.founding.model.place} '
                'has values only; use scoring.kind = "examples", or name model.function'
            )
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

    if (values := founding.model.tensors()) is not None:
        return _values_only(founding, values)
    config, shape, classes = founding.model, tuple(founding.input.shape), founding.input.classes
    make = partial(_made, build_model, founding)
    made = make()
    if config.is_own:
        try_own_model(config, make, shape, classes)
        _check_batches(founding, made)
    quantised = _quantised(founding, made.arrays(), made.statistics)
    if config.layers(shape, classes) is None:
        return FirstModel(founding, made, quantised, None, _module(founding, made))
    described = architecture(config, shape, classes, founding.numbers.scale_bits)
    return FirstModel(founding, made, quantised, described, None)


def _made(build_model: Any, founding: Founding) -> "SharedModel":
    rng = np.random.Generator(np.random.PCG64(founding.seed))
    made: SharedModel = build_model(
        founding.model, tuple(founding.input.shape), founding.input.classes, rng
    )
    return made


def _module(founding: Founding, made: "SharedModel") -> AgreedModule:
    by_structure = founding.model_agreed_by == "structure"
    section = founding.model.participants_section(has_frozen=bool(made.frozen))
    structure = made.structure().hex() if by_structure else ""
    return _agreed_module(founding, made.arrays(), section, structure)


def _values_only(founding: Founding, values: Mapping[str, Any]) -> FirstModel:
    """Return a model of which only values are known: participants bring what computes."""
    from coordinator.models.shared import require_committable

    for name, tensor in values.items():
        require_committable(name, tensor, founding.model.place)
    arrays = {name: tensor.numpy() for name, tensor in values.items()}
    module = _agreed_module(founding, arrays, {}, "")
    return FirstModel(founding, None, _quantised(founding, arrays), None, module)


def _agreed_module(
    founding: Founding, arrays: Mapping[str, Any], section: dict[str, Any], structure: str
) -> AgreedModule:
    from coordinator.models.agreed import agreed_buffers

    return AgreedModule(
        section=section,
        input_shape=founding.input.shape,
        classes=founding.input.classes,
        structure=structure,
        buffers=agreed_buffers(arrays, founding.model.place),
    )


def _quantised(
    founding: Founding, arrays: Mapping[str, Any], statistics: Sequence[str] = ()
) -> AgreedModel:
    try:
        return agreed_model(arrays, founding.numbers, statistics)
    except MalformedUpdateError as error:  # no contributor's fault, but a setting's
        raise ConfigError(f"{founding.model.place}: {error}") from error


def _check_batches(founding: Founding, made: "SharedModel") -> None:
    from coordinator.models.networks import least_batch

    least = least_batch(made.module)
    if founding.training.batch_size < least:
        raise ConfigError(
            f"training.batch_size = {founding.training.batch_size}, but {founding.model.place} has "
            f"batch norm, which needs at least {least} examples in a batch"
        )
