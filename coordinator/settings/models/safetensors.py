"""A model whose initial values, and with them its layout, come from a safetensors file."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, JsonValue

from coordinator.protocol.errors import OutsideCodeError
from coordinator.settings.models.base import ModelKind
from coordinator.settings.models.python import FunctionName, made_module

if TYPE_CHECKING:
    import torch
    from torch import nn


class SafetensorsModel(ModelKind):
    """Values of ``file`` in the module that ``function`` makes, as for ``kind = "python"``.

    Without ``function`` nobody can compute with it but applications of participants' own: a
    federation can be founded with it, an experiment cannot.
    """

    kind: Literal["safetensors"] = "safetensors"
    file: str = Field(min_length=1)
    function: FunctionName | Literal[""] = ""
    options: dict[str, JsonValue] = Field(default={})

    @property
    def is_own(self) -> bool:
        """Whether somebody's own code makes it, or it is of somebody's file: always."""
        return True

    @property
    def place(self) -> str:
        """The file, and the function if there is one."""
        made = f' with model.function = "{self.function}"' if self.function else ""
        return f'model.file = "{self.file}"{made}'

    def in_folder(self, folder: Path) -> Self:
        """Return it with a path that no longer depends on the working directory."""
        return self.model_copy(update={"file": str(folder / Path(self.file).expanduser())})

    def participants_section(self, *, has_frozen: bool) -> dict[str, Any]:
        """Return what participants need: the function, and the file where values are frozen."""
        if not self.function:
            return {}
        if has_frozen:
            return {**self.model_dump(mode="json"), "file": Path(self.file).name}
        return {"kind": "python", "function": self.function, "options": self.options}

    def tensors(self) -> Mapping[str, "torch.Tensor"] | None:
        """Return the file's tensors where there is no function, in the order of the file."""
        return None if self.function else self._read()

    def module(self, input_shape: tuple[int, ...], num_classes: int) -> "nn.Module":
        """Make the module and put the file's values into it.

        Raises
        ------
        OutsideCodeError
            If there is no function, the file cannot be read, or its tensors are not the module's.
        """
        if not self.function:
            raise OutsideCodeError(
                f'model.function is missing: model.file = "{self.file}" has values only, and '
                'nothing computes with them; expected function = "module:name"'
            )
        known = {"input_shape": input_shape, "num_classes": num_classes}
        module = made_module(self.function, self.options, known, self.place)
        self._fill(module)
        return module

    def _fill(self, module: "nn.Module") -> None:
        state, values = module.state_dict(), self._read()
        for name in [*state, *values]:
            own, found = _form(state.get(name)), _form(values.get(name))
            if own != found:
                raise OutsideCodeError(
                    f"{self.file}: tensor {name!r} is {found}, expected {own} as "
                    f'model.function = "{self.function}" has it'
                )
        module.load_state_dict(values)

    def _read(self) -> dict[str, "torch.Tensor"]:
        from safetensors import SafetensorError, safe_open

        path = Path(self.file).expanduser()
        try:
            if path.is_dir():
                raise IsADirectoryError(21, "Is a directory")
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.offset_keys()}
        except OSError as error:
            reason = error.strerror or "no such file, or it cannot be opened"
            raise OutsideCodeError(f"{path}: cannot be read: {reason} (model.file)") from error
        except SafetensorError as error:
            raise OutsideCodeError(f"{path}: no safetensors file: {error} (model.file)") from error


def _form(tensor: Any) -> str:
    if tensor is None:
        return "missing"
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
