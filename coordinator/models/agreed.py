"""Whether a participant's own module is the model that its federation agreed on.

Not handled: what a module computes; nobody can tell that from its parts.
"""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from coordinator.models.shared import SharedModel
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.numbers.manifest import Manifest, split_buffers
from coordinator.settings.agreement import AgreedBuffer, FederationAgreement

_MOST_BUFFER_VALUES = 4096
"""Of all integer buffers: they are in ``federation.json``, and in every instruction."""


def agreed_buffers(arrays: Mapping[str, NDArray[Any]], place: str) -> list[AgreedBuffer]:
    """Return the integer buffers among a model's tensors, with their values.

    Raises
    ------
    ConfigError
        If they are too large to be part of the agreement; names the largest.
    """
    _, buffers = split_buffers(arrays)
    if (size := sum(array.size for array in buffers.values())) > _MOST_BUFFER_VALUES:
        largest = max(buffers, key=lambda name: buffers[name].size)
        raise ConfigError(
            f"{place}: its integer buffers have {size} values, the largest {largest!r} "
            f"{buffers[largest].size}; expected at most {_MOST_BUFFER_VALUES}, as they are in "
            "federation.json: register what is not learned with persistent=False"
        )
    return [
        AgreedBuffer(
            name=name,
            position=list(arrays).index(name),
            dtype=array.dtype.name,
            shape=list(array.shape),
            values=[int(value) for value in array.ravel()],
        )
        for name, array in buffers.items()
    ]


def require_agreed(model: SharedModel, agreement: FederationAgreement, place: str) -> None:
    """Compare a participant's own module with the agreement.

    Parameters
    ----------
    place
        Key and value that name the module, for messages.

    Raises
    ------
    ConfigError
        If a shared tensor, a buffer or, where that is agreed on, the structure is another; names
        the first tensor that differs.
    """
    agreed = agreement.model
    assert agreed is not None, "asked only where the federation has a module of its own"
    _require_tensors(model, agreement.core_manifest, f"{place}: ", agreement.name)
    buffers = {buffer.name: buffer for buffer in agreed_buffers(model.arrays(), place)}
    for buffer in agreed.buffers:
        own = buffers.pop(buffer.name, None)
        if own is None or own.model_copy(update={"position": buffer.position}) != buffer:
            raise ConfigError(
                f"{place}: its buffer {buffer.name!r} is not the agreed one of {agreement.name}, "
                f"{buffer.dtype} of shape {tuple(buffer.shape)} with values {buffer.values[:4]}"
            )
    for name in buffers:
        raise ConfigError(
            f"{place}: its buffer {name!r} is not in the agreement of {agreement.name}"
        )
    structure = model.structure().hex()
    if agreed.structure and structure != agreed.structure:
        raise ConfigError(
            f"{place}: structure {structure[:16]}, {agreement.name} agreed on "
            f"{agreed.structure[:16]}: its tensors are the agreed ones, but it has other parts, "
            "options or frozen values; expected the founder's module (or a federation with "
            'model_agreed_by = "manifest")'
        )


def _require_tensors(model: SharedModel, manifest: Manifest, place: str, name: str) -> None:
    """Compare by name: an update is put in the manifest's order, whatever the module's is."""
    floats, _ = split_buffers(model.arrays())
    own = {key: _told(array.dtype.name, array.shape) for key, array in floats.items()}
    for spec in manifest.tensors:
        agreed, found = _told(spec.dtype, spec.shape), own.pop(spec.name, "missing")
        if found != agreed:
            raise ConfigError(
                f"{place}shared tensor {spec.name!r} is {found}, the manifest of {name} has "
                f"{agreed}"
            )
    for key in own:
        raise ConfigError(f"{place}shared tensor {key!r} is not in the manifest of {name}")


def _told(dtype: str, shape: tuple[int, ...]) -> str:
    return f"{dtype} of shape {tuple(shape)}"
