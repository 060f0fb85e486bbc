"""The model that a participant trains: of the agreement, or of a module that its settings name.

An agreement runs no code: where the federation learns a module of one's own, the participant has a
copy of it, names it in its own settings, and has it compared with the agreement. Not handled:
applications of participants' own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import JsonValue

from clients.daemon.trained_model import TrainedModel
from coordinator.models.agreed import require_agreed
from coordinator.models.build import build_model, try_training
from coordinator.protocol.errors import ConfigError
from coordinator.settings.agreement import AgreedModule, FederationAgreement
from coordinator.settings.base import Section
from coordinator.settings.kinds import ByKind
from coordinator.settings.load import validated
from coordinator.settings.models import MODELS
from coordinator.settings.models.base import ModelKind


class _Settings(Section):
    model: Annotated[ModelKind, ByKind(MODELS, default="python")]


def agreed_model(
    agreement: FederationAgreement, section: Mapping[str, JsonValue] | None, folder: Path
) -> TrainedModel:
    """Return the federation's model.

    Parameters
    ----------
    section
        ``[model]`` of the participant's settings, not validated yet.
    folder
        What relative paths in it are relative to.

    Raises
    ------
    ConfigError
        If the section is missing or not wanted, or its module is not the agreed one.
    """
    architecture, module = agreement.core_architecture, agreement.model
    if architecture is not None:
        if section is not None:
            raise ConfigError(
                f"model is not expected: the agreement of {agreement.name} describes its model; "
                "leave [model] out"
            )
        return TrainedModel.of(architecture)
    if module is None:
        raise ConfigError(
            f"app is missing: {agreement.name} has no model of its own, so participants bring one"
        )
    if section is None and not module.section:
        raise ConfigError(
            f"app is missing: {agreement.name} agreed on tensors only; expected app = "
            '"module:app", or [model] with a module that has these tensors'
        )
    if section is None:
        raise ConfigError(
            f"model is missing: {agreement.name} learns a module that participants have a copy of; "
            f"expected [model] as the founder has it, {_told(module)}"
        )
    table = {"model": dict(section)}
    own = validated(_Settings, table, str(folder / "participant.toml")).model
    return _own(agreement, module, own.in_folder(folder))


def _own(agreement: FederationAgreement, module: AgreedModule, section: ModelKind) -> TrainedModel:
    shape = module.shape
    # The values are those of the first model received.
    made = build_model(
        section, shape.input_shape, module.classes, np.random.Generator(np.random.PCG64(0))
    )
    require_agreed(made, agreement, section.place)
    try_training(section, made, shape.input_shape, module.classes)
    return TrainedModel(made, made.module, shape)


def _told(module: AgreedModule) -> str:
    keys = ("kind", "function")
    return ", ".join(f'{key} = "{module.section[key]}"' for key in keys if key in module.section)
