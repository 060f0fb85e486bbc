"""The models an experiment can train, with initial values that depend on the seed alone."""

from clients.training.trainer import training_settings
from coordinator.models.architecture import architecture
from coordinator.models.build import build_model as build_with
from coordinator.models.shared import SharedModel
from coordinator.settings.models.base import ModelKind
from simulations.seeds import generator

__all__ = ["architecture", "build_model", "training_settings"]


def build_model(
    config: ModelKind, input_shape: tuple[int, ...], num_classes: int, generator_seed: int
) -> SharedModel:
    """Build a model and give it its initial values.

    Parameters
    ----------
    config, input_shape, num_classes
        As for :func:`coordinator.models.build.build_model`.
    generator_seed
        The experiment's root seed.

    Raises
    ------
    ConfigError
        As there.
    """
    return build_with(config, input_shape, num_classes, generator(generator_seed, "model"))
