"""Models whose initial values are a safetensors file's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from coordinator.models.build import build_model
from coordinator.models.shared import SharedModel
from coordinator.protocol.errors import OutsideCodeError
from coordinator.settings.models.safetensors import SafetensorsModel

MODULE = """
from torch import nn


def two(num_classes):
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, num_classes))
"""


@pytest.fixture(autouse=True, scope="module")
def my_layers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("layers")
    (folder / "two_layers.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield


def values() -> dict[str, torch.Tensor]:
    return {
        "0.weight": torch.arange(12.0).reshape(4, 3) / 8,
        "0.bias": torch.zeros(4),
        "1.weight": torch.ones(4),
        "1.bias": torch.zeros(4),
        "1.running_mean": torch.zeros(4),
        "1.running_var": torch.full((4,), 3.0),
        "1.num_batches_tracked": torch.tensor(5),
        "2.weight": torch.ones(2, 4),
        "2.bias": torch.tensor([0.5, -0.5]),
    }


def made(file: Path, function: str = "two_layers:two") -> SharedModel:
    config = SafetensorsModel(file=str(file), function=function)
    return build_model(config, (3,), 2, np.random.Generator(np.random.PCG64(1)))


def test_the_files_values_are_the_initial_model(tmp_path: Path) -> None:
    save_file(values(), tmp_path / "first.safetensors")
    found = made(tmp_path / "first.safetensors").state()
    assert list(found) == list(values())
    assert all(torch.equal(found[name], tensor) for name, tensor in values().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda v: v.pop("0.bias"),
            "tensor '0.bias' is missing, expected float32 of shape (4,) as",
        ),
        (lambda v: v.update(more=torch.zeros(1)), "'more' is float32 of shape (1,), expected miss"),
        (
            lambda v: v.update({"2.bias": torch.zeros(3)}),
            "'2.bias' is float32 of shape (3,), expected float32 of shape (2,) as model.function",
        ),
        (
            lambda v: v.update({"2.bias": torch.zeros(2, dtype=torch.bfloat16)}),
            "'2.bias' is bfloat16 of shape (2,), expected float32 of shape (2,)",
        ),
    ],
)
def test_other_tensors_than_the_modules_are_refused(
    tmp_path: Path, change: Any, message: str
) -> None:
    changed = values()
    change(changed)
    save_file(changed, tmp_path / "first.safetensors")
    with pytest.raises(OutsideCodeError) as refused:
        made(tmp_path / "first.safetensors")
    assert str(refused.value).startswith(f"{tmp_path / 'first.safetensors'}: tensor ")
    assert message in str(refused.value)


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not tensors at all")
    for name, message in (
        ("none", "cannot be read: "),
        (".", "cannot be read: Is a directory (model.file)"),
        ("text", "no safetensors file: "),
    ):
        with pytest.raises(OutsideCodeError) as refused:
            made(tmp_path / name)
        assert message in str(refused.value)
        assert "\n" not in str(refused.value)


def test_without_a_function_there_are_only_values(tmp_path: Path) -> None:
    save_file(values(), tmp_path / "first.safetensors")
    config = SafetensorsModel(file="first.safetensors").in_folder(tmp_path)
    read = config.tensors()
    assert read is not None
    assert {name: tuple(t.shape) for name, t in read.items()} == {
        name: tuple(tensor.shape) for name, tensor in values().items()
    }
    with pytest.raises(OutsideCodeError, match=r"model\.function is missing: model\.file = "):
        made(tmp_path / "first.safetensors", function="")


def test_participants_need_the_file_for_frozen_values_only() -> None:
    config = SafetensorsModel(file="/somewhere/base.safetensors", function="my_models:Net")
    assert config.participants_section(has_frozen=False) == {
        "kind": "python",
        "function": "my_models:Net",
        "options": {},
    }
    assert config.participants_section(has_frozen=True)["file"] == "base.safetensors"
    assert SafetensorsModel(file="x").participants_section(has_frozen=False) == {}
