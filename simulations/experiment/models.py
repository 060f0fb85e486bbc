"""The models an experiment can train, with initial weights that depend on the seed alone.

A model is described once, as the core's :class:`Architecture` (what scoring re-executes in
integers), and the PyTorch module is made from that: the order of its parameters cannot differ.
"""

from torch import nn

from clients.training.trainer import training_settings
from coordinator.models.architecture import architecture
from coordinator.models.networks import build_network, initialise
from coordinator.settings.learning import Model
from simulations.seeds import generator

__all__ = ["architecture", "build_model", "training_settings"]


def build_model(
    config: Model, input_shape: tuple[int, ...], num_classes: int, generator_seed: int
) -> nn.Sequential:
    """Build a model and give it its initial weights.

    Parameters
    ----------
    config, input_shape, num_classes
        As for :func:`architecture`.
    generator_seed
        The experiment's root seed. Weights and biases are uniform within ``1 / sqrt(fan_in)``,
        PyTorch's own rule, but drawn from our generator: no global random state is read or
        moved.

    Raises
    ------
    ConfigError
        As for :func:`architecture`.
    """
    model = build_network(architecture(config, input_shape, num_classes))
    initialise(model, generator(generator_seed, "model"))
    return model
