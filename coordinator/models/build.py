"""Makes a federation's model from its settings, with initial values that follow from one seed.

Not handled: whether a module of one's own learns anything.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from coordinator.models.architecture import architecture, module_architecture
from coordinator.models.networks import build_network, initialise
from coordinator.models.seeding import seeded
from coordinator.models.shared import SharedModel
from coordinator.protocol.errors import ConfigError, FedproofError, OutsideCodeError
from coordinator.protocol.registry import failure_of
from coordinator.protocol.scores.architecture import Architecture
from coordinator.settings.models.base import ModelKind

_TRIED = 2
"""Made-up examples that a module of one's own is tried on."""


def build_model(
    config: ModelKind, input_shape: tuple[int, ...], num_classes: int, rng: np.random.Generator
) -> SharedModel:
    """Make a model and give it its initial values.

    Parameters
    ----------
    config
        The ``[model]`` section.
    input_shape
        Shape of one example.
    num_classes
        Width of the last layer, which gives logits.
    rng
        Decides the values: of layers as :func:`~coordinator.models.networks.initialise` says; of
        a module of one's own it seeds torch's, NumPy's and ``random``'s generators while the
        module is made. Those are put back as they were.

    Raises
    ------
    ConfigError
        If examples or classes do not fit the model.
    OutsideCodeError
        If a module of one's own cannot be made, or does not give logits.
    """
    if config.layers(input_shape, num_classes) is not None:
        network = build_network(architecture(config, input_shape, num_classes))
        initialise(network, rng)
        return SharedModel(network, config.place)
    with seeded(int(rng.integers(2**63))):
        module = config.module(input_shape, num_classes)
        module.eval()
        examples = torch.zeros(_TRIED, *input_shape)
        with torch.no_grad():  # layers without sizes (lazy ones) learn them by it
            _given(module, examples, config.place, (_TRIED, num_classes), "to evaluate")
    return SharedModel(module, config.place)


def try_own_model(
    config: ModelKind,
    make: Callable[[], SharedModel],
    input_shape: tuple[int, ...],
    num_classes: int,
) -> None:
    """Try a model of one's own before anything is written: made twice, and trained for one step.

    Parameters
    ----------
    make
        Returns the model, made by :func:`build_model` from the same seed each time.

    Raises
    ------
    OutsideCodeError
        If a tensor differs (the first is named), or the step fails.
    """
    first, second = make(), make()
    one, two = first.module.state_dict(), second.module.state_dict()
    for name in one:
        if name not in two or not _same(one[name], two[name]):
            raise OutsideCodeError(
                f"{config.place}: called twice it gave different values of {name!r}; expected "
                "values from files, or from the generators of torch, NumPy and random, which are "
                "seeded before the call"
            )
    try_training(config, second, input_shape, num_classes)


def try_training(
    config: ModelKind, model: SharedModel, input_shape: tuple[int, ...], num_classes: int
) -> None:
    """Train a model of one's own on made-up examples for one step; its statistics may move.

    Raises
    ------
    OutsideCodeError
        If that fails.
    """
    examples = torch.zeros(_TRIED, *input_shape)
    model.module.train()
    with seeded(0):
        logits = _given(model.module, examples, config.place, (_TRIED, num_classes), "to train on")
        try:
            logits.sum().backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise OutsideCodeError(
                f"{config.place}: its logits have no gradient: {failure_of(error)[:400]}"
            ) from error


def integer_architecture(
    config: ModelKind,
    model: SharedModel,
    input_shape: tuple[int, ...],
    num_classes: int,
    scale_bits: int,
    score: str,
) -> Architecture:
    """Return what integers repeat of a model: what a score with an evaluation set needs.

    Parameters
    ----------
    score
        The ``kind`` of ``[scoring]``, for messages.

    Raises
    ------
    ConfigError
        If integers cannot repeat the model: says why, and what can be done.
    """
    if config.layers(input_shape, num_classes) is not None:
        return architecture(config, input_shape, num_classes, scale_bits)
    try:
        described = module_architecture(model.module, input_shape, scale_bits)
        trained = (part for part in model.module.parameters() if part.requires_grad)
        if described.dimension != sum(parameter.numel() for parameter in trained):
            raise ConfigError("some of its parameters are frozen or shared by layers")
        for name, tensor in model.state().items():
            if tensor.dtype != torch.float32:
                raise ConfigError(f"its tensor {name!r} has dtype {tensor.dtype}, not float32")
    except ConfigError as error:
        raise OutsideCodeError(
            f'scoring.kind = "{score}" evaluates the model in integers, which {config.place} '
            f'cannot be: {error}; use scoring.kind = "examples", a score of your own '
            '("module:NAME") that needs no evaluation, or a model of such layers'
        ) from error
    return described


def _given(
    module: nn.Module,
    examples: torch.Tensor,
    place: str,
    expected: tuple[int, int],
    purpose: str,
) -> torch.Tensor:
    """Return the logits of made-up examples, or say what a module of one's own did instead."""
    given = (
        f"{place}: given {len(examples)} examples of shape {tuple(examples.shape[1:])} {purpose}"
    )
    try:
        logits: Any = module(examples)
    except FedproofError:
        raise
    except (Exception, SystemExit) as error:  # somebody else's code: anything may come out of it
        raise OutsideCodeError(f"{given} it raised {failure_of(error)[:400]}") from error
    if not isinstance(logits, torch.Tensor):
        raise OutsideCodeError(
            f"{given} it returned a {type(logits).__name__}, expected a tensor of logits of shape "
            f"{expected}"
        )
    if tuple(logits.shape) != expected or not logits.is_floating_point():
        raise OutsideCodeError(
            f"{given} it returned {str(logits.dtype).removeprefix('torch.')} of shape "
            f"{tuple(logits.shape)}, expected logits of shape {expected}, one for each class"
        )
    return logits


def _same(first: Any, second: Any) -> bool:
    if not (isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor)):
        return False
    return first.shape == second.shape and torch.equal(first.nan_to_num(), second.nan_to_num())
