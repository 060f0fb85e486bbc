"""A federation that learns a torch module of its founder: agreed on, and taken part in."""

import importlib
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import participant_bench
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, RecordDict
from participant_bench import message
from safetensors.torch import save_file

from clients.daemon import chain
from clients.daemon.setup import build_app, open_account, read_setup
from clients.data.load import load_data
from clients.mod.journal import MemoryJournal
from clients.mod.participation import Participant
from clients.mod.signer import KeySigner
from clients.mod.verifiable_updates import VerifiableUpdates
from coordinator.flower.records import (
    agreed_layout,
    instruction_content,
    instruction_records,
    vector_array,
)
from coordinator.founding.agreement import agree
from coordinator.founding.create import Founded, create_federation
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.numbers.fixed_point import dequantise
from coordinator.protocol.types import Address, Wei
from coordinator.settings.agreement import FederationAgreement, agreement_from, read_agreement
from coordinator.settings.founding import load_founding
from coordinator.settings.participant import load_participant
from coordinator.stores.disk import DiskStore

ME = Address("0x" + "11" * 20)
MODULE = '''
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes, width=4, base=0.5, norm=nn.BatchNorm1d):
        super().__init__()
        self.base = nn.Linear(3, width).requires_grad_(False)
        nn.init.constant_(self.base.weight, base)
        nn.init.constant_(self.base.bias, 0.0)
        self.norm = norm(width)
        self.out = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.out(torch.relu(self.norm(self.base(x))))


class Wider(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes, width=5)


class OtherBase(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes, base=0.25)


class Renamed(Net):
    pass


class Counted(Net):
    """Began to count elsewhere."""

    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.norm.num_batches_tracked += 7


class More(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.extra = nn.Parameter(torch.zeros(2))


class Flagged(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.register_buffer("flag", torch.zeros(3, dtype=torch.bool))


class Masked(Net):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.register_buffer("mask", torch.ones(100, 100, dtype=torch.bool))


def rows():
    return nn.Sequential(nn.Linear(3, 2))


def counting_rows():
    net = rows()
    net.register_buffer("seen", torch.tensor([0, 0]))
    return net
'''
KINDS = """
from pydantic import Field

from fedproof import ModelKind


class Narrow(ModelKind):
    width: int = Field(default=2, ge=1)

    def module(self, input_shape, num_classes):
        from torch import nn

        last = nn.Linear(self.width, num_classes)
        return nn.Sequential(nn.Linear(3, self.width), nn.Tanh(), last)
"""
MODEL = 'kind = "python"\nfunction = "founders_nets:Net"\noptions = {width = 4}'
FEDERATION = """
name = "heart"

[input]
shape = [3]
classes = 2

[features]
label = "sick"

[model]
kind = "python"
function = "founders_nets:Net"
options = {width = 4}

[training]
epochs = 2
batch_size = 4

[windows]
challenge_window_s = 5
unbonding_s = 600
answer_s = 60

[host]
tls = false

[[participants]]
name = "basel"
"""
ROWS = "\n".join(f"{i % 7},{i % 3},{-i},{i % 2}" for i in range(21))


@pytest.fixture(autouse=True, scope="module")
def founders_modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("nets")
    (folder / "founders_nets.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield


@pytest.fixture(scope="module")
def heart(founders_modules: None, tmp_path_factory: pytest.TempPathFactory) -> Founded:
    folder = tmp_path_factory.mktemp("heart")
    (folder / "federation.toml").write_text(FEDERATION)
    made = create_federation(folder / "federation.toml", folder / "out", load_examples=load_data)
    place = made.folder.participant("basel")
    (place / "data.csv").write_text(f"age,chol,thalach,sick\n{ROWS}\n")
    return made


@pytest.fixture
def basel(heart: Founded, tmp_path: Path) -> Path:
    place = shutil.copytree(heart.folder.participant("basel"), tmp_path / "basel")
    return Path(place) / "participant.toml"


def edited(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert re.search(old, text)
    path.write_text(re.sub(old, new, text))
    return path


def agreed(folder: Path, *changes: tuple[str, str]) -> FederationAgreement:
    text = FEDERATION
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "federation.toml"
    path.write_text(text)
    return agree(load_founding(path), ME, folder, load_data).agreement


# --- the agreement -----------------------------------------------------------------------------


def test_what_is_agreed_on(heart: Founded) -> None:
    agreement = read_agreement(heart.folder.agreement)
    assert agreement.architecture is None
    assert [spec.name for spec in agreement.core_manifest.tensors] == [
        "norm.weight",
        "norm.bias",
        "norm.running_mean",
        "norm.running_var",
        "out.weight",
        "out.bias",
    ]
    module = agreement.model
    assert module is not None
    assert module.section["function"] == "founders_nets:Net"
    assert module.shape.input_shape == (3,)
    (buffer,) = module.buffers
    assert (buffer.name, buffer.position, buffer.dtype) == ("norm.num_batches_tracked", 4, "int64")
    assert (buffer.shape, buffer.values) == ([], [0])
    assert len(module.structure) == 64
    store = DiskStore(heart.folder.blobs, read_only=True)
    root = bytes.fromhex(agreement.initial_model_root)
    first = dequantise(store.get_vector(root, agreement.core_manifest), agreement.core_manifest)
    store.close()
    assert first["norm.running_var"].tolist() == [1.0] * 4
    assert agreement_from(heart.folder.agreement.read_bytes(), "it").digest == agreement.digest


def test_the_coordinator_sends_the_buffers_in_their_place(heart: Founded) -> None:
    agreement = read_agreement(heart.folder.agreement)
    assert agreement.model is not None
    layout = agreed_layout(agreement.core_manifest, agreement.model.buffers)
    assert layout.order == (
        "norm.weight",
        "norm.bias",
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches_tracked",
        "out.weight",
        "out.bias",
    )
    assert layout.buffers["norm.num_batches_tracked"].numpy().tolist() == 0


def test_the_coordinator_evaluates_no_module(tmp_path: Path) -> None:
    section = ("[windows]", '[evaluation]\ndata = "public.csv"\n\n[windows]')
    with pytest.raises(ConfigError) as refused:
        agreed(tmp_path, section)
    assert str(refused.value).startswith("evaluation.data: the coordinator evaluates models of")
    assert "\n" not in str(refused.value)
    by_participants = agreed(tmp_path, ("[windows]", "[evaluation]\n\n[windows]"))
    assert by_participants.evaluation is not None
    assert by_participants.evaluation.public_set == ""


def test_the_digest_covers_the_module(tmp_path: Path) -> None:
    one = agreed(tmp_path)
    assert one.digest == agreed(tmp_path).digest
    assert one.digest != agreed(tmp_path, ("nets:Net", "nets:Renamed")).digest
    by_manifest = ('name = "heart"', 'name = "heart"\nmodel_agreed_by = "manifest"')
    alone = agreed(tmp_path, by_manifest)
    assert alone.model is not None
    assert alone.model.structure == ""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("nets:Net", "nets:Nett", 'has no "Nett"; did you mean "founders_nets:Net"?'),
        ("shape = [3]", "shape = [4]", "given 2 examples of shape (4,) to evaluate it raised"),
        ("batch_size = 4", "batch_size = 1", "training.batch_size = 1, but model.function"),
        (
            "options = {width = 4}",
            "options = {widths = 4}",
            "cannot be called with model.options ['widths']",
        ),
        (
            'nets:Net"\noptions = {width = 4}',
            'nets:Masked"',
            "integer buffers have 10001 values, the largest 'mask' 10000; expected at most 4096",
        ),
        (
            "[host]",
            'evaluation_data = "public.csv"\n[host]',
            'unknown key "windows.evaluation_data"',
        ),
        (
            'name = "heart"',
            'name = "heart"\nevaluation_data = "x.csv"\nscoring = {kind = "leave_one_out"}',
            "the module is Net, integers repeat only",
        ),
    ],
)
def test_what_cannot_be_founded(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        agreed(tmp_path, (old, new))
    assert message in str(refused.value)


def test_a_described_model_is_not_agreed_on_by_its_manifest(tmp_path: Path) -> None:
    by_manifest = ('name = "heart"', 'name = "heart"\nmodel_agreed_by = "manifest"')
    with pytest.raises(ConfigError, match=r'is for modules of your own; model\.kind = "logistic"'):
        agreed(tmp_path, by_manifest, (MODEL, 'kind = "logistic"'))


# --- a participant -------------------------------------------------------------------------------


def asked(path: Path, group: str = "1") -> dict[str, np.ndarray[Any, Any]]:
    """The tensors that a participant's built-in trainer answers the first model with."""
    app = build_app(read_setup(path), ME)
    agreement = read_agreement(path.parent / "federation.json")
    arrays = {
        spec.name: Array(np.full(spec.shape, 0.5, spec.dtype))
        for spec in agreement.core_manifest.tensors
    }
    arrays["norm.num_batches_tracked"] = Array(np.array(99))
    content = RecordDict({"arrays": ArrayRecord(arrays)})
    reply = app(message(content, "train", group=group), Context(1, 7, {}, RecordDict(), {}))
    return {n: a.numpy() for n, a in reply.content.array_records["arrays"].items()}


def test_the_settings_name_the_founders_module(basel: Path) -> None:
    text = basel.read_text()
    assert "[model]  # runs this code, of your own copy next to this file: read it first" in text
    assert tomllib.loads(text)["model"] == {
        "kind": "python",
        "function": "founders_nets:Net",
        "options": {"width": 4},
    }


def test_a_participant_trains_its_copy(basel: Path) -> None:
    found = asked(basel)
    manifest = read_agreement(basel.parent / "federation.json").core_manifest
    assert [(name, a.dtype.name, a.shape) for name, a in found.items()] == [
        (spec.name, spec.dtype, spec.shape) for spec in manifest.tensors
    ]
    assert (found["out.weight"] != 0.5).any()
    assert (found["norm.running_var"] != 0.5).all()
    again = asked(basel)
    assert all(np.array_equal(found[name], again[name]) for name in found)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "Wider",
            "'norm.weight' is float32 of shape (5,), the manifest of heart has float32 of sha",
        ),
        ("More", "shared tensor 'extra' is not in the manifest of heart"),
        (
            "rows",
            "shared tensor 'norm.weight' is missing, the manifest of heart has float32 of sha",
        ),
        ("Counted", "its buffer 'norm.num_batches_tracked' is not the agreed one of heart, int64"),
        ("Flagged", "its buffer 'flag' is not in the agreement of heart"),
        ("OtherBase", "its tensors are the agreed ones, but it has other parts, options or frozen"),
        ("Renamed", "its tensors are the agreed ones, but it has other parts, options or frozen"),
        ("Nowhere", 'module founders_nets has no "Nowhere"'),
    ],
)
def test_another_module_is_refused(basel: Path, name: str, message: str) -> None:
    edited(basel, "nets:Net", f"nets:{name}")
    edited(basel, r"\[model.options\]\nwidth = 4\n", "")
    with pytest.raises(ConfigError) as refused:
        build_app(read_setup(basel), ME)
    text = str(refused.value)
    assert text.startswith(f'model.function = "founders_nets:{name}"')
    assert message in text
    assert "\n" not in text


def test_by_the_manifest_alone_any_module_with_its_tensors_takes_part(
    basel: Path, tmp_path: Path
) -> None:
    by_manifest = ('name = "heart"', 'name = "heart"\nmodel_agreed_by = "manifest"')
    alone = agreed(tmp_path, by_manifest)
    (basel.parent / "federation.json").write_bytes(alone.canonical_json())
    edited(basel, r"\[model.options\]\nwidth = 4\n", "")
    edited(basel, "nets:Net", "nets:Renamed")
    assert set(asked(basel)) == {spec.name for spec in alone.core_manifest.tensors}


def test_a_kind_of_ones_own_lies_beside_the_settings(
    basel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a module is imported from, other commands that read the settings need not know."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    founders = tmp_path / "founders"
    founders.mkdir()
    (founders / "basel_kinds.py").write_text(KINDS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(founders)
        theirs = agreed(tmp_path, (MODEL, 'kind = "basel_kinds:Narrow"\nwidth = 3'))
    sys.modules.pop("basel_kinds")
    (basel.parent / "federation.json").write_bytes(theirs.canonical_json())
    section = r"\[model\][^\[]*\[model.options\][^\[]*"
    edited(basel, section, '[model]\nkind = "basel_kinds:Narrow"\nwidth = 3\n\n')
    assert load_participant(basel).model == {"kind": "basel_kinds:Narrow", "width": 3}
    with pytest.raises(ConfigError, match="module basel_kinds cannot be imported"):
        build_app(read_setup(basel), ME)
    (basel.parent / "basel_kinds.py").write_text(KINDS)
    importlib.invalidate_caches()
    assert callable(build_app(read_setup(basel), ME))
    edited(basel, "width = 3", "width = 0")
    with pytest.raises(ConfigError, match=r"participant\.toml: model\.width = 0: expected"):
        build_app(read_setup(basel), ME)


def test_a_participant_without_the_module_is_told_whose_it_is(basel: Path) -> None:
    edited(basel, r"\[model\][^\[]*\[model.options\][^\[]*", "")
    with pytest.raises(ConfigError) as refused:
        build_app(read_setup(basel), ME)
    assert str(refused.value) == (
        "model is missing: heart learns a module that participants have a copy of; expected "
        '[model] as the founder has it, kind = "python", function = "founders_nets:Net"'
    )


def test_too_little_data_for_batch_norm_is_told_at_the_start(basel: Path) -> None:
    (basel.parent / "data.csv").write_text("age,chol,thalach,sick\n1,2,3,1\n")
    with pytest.raises(ConfigError, match=r"data\.csv: 1 example; the model has batch norm, which"):
        build_app(read_setup(basel), ME)


def test_a_round_of_two_who_have_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real trainer, signing mod, chain and round service; the frozen base stays what it was."""
    section = '\n[model]\nkind = "python"\nfunction = "founders_nets:Net"\n'
    monkeypatch.setattr(participant_bench, "FEDERATION", participant_bench.FEDERATION + section)
    root = participant_bench.found_bench(tmp_path, ["ada", "bob"])
    with participant_bench.coordinator_stub(root) as stub:
        members = [member(root / "participants" / name) for name in ("ada", "bob")]
        module = stub.agreement.model
        assert module is not None
        announced = stub.service.open_round()
        layout = agreed_layout(announced.manifest, module.buffers)
        told = instruction_content(layout, ConfigRecord({}), sealed=False)
        instruction = stub.service.sign_instruction(announced.round_id, "train", told)
        for mod, app in members:
            content = instruction_records(
                announced, vector_array(announced.model), layout, instruction
            )
            reply = mod(
                message(content, "train", group="1"), Context(1, 7, {}, RecordDict(), {}), app
            )
            assert not reply.has_error(), reply.error
            stub.submit(announced, reply)
        outcome = stub.service.close_round()
        assert outcome.status == "sealed", outcome.reason
        model = dequantise(stub.service.model(), announced.manifest)
        assert (model["norm.running_mean"] != 0).any()
        assert "base.weight" not in model


def member(folder: Path) -> tuple[VerifiableUpdates, Any]:
    setup = read_setup(folder / "participant.toml")
    account = open_account(setup.settings.account, setup.folder)
    link = chain.connect(setup.settings.coordinator.rpc, None, setup.agreement)
    link.federation.join(account, Wei(10**18))
    who = Participant(KeySigner(bytes(account.key)), link.view, MemoryJournal())
    return VerifiableUpdates(who), build_app(setup, Address(account.address))


# --- a file of values ----------------------------------------------------------------------------


def safetensors(folder: Path, *, function: bool) -> FederationAgreement:
    tensors = {
        "0.weight": torch.ones(2, 3) / 4,
        "0.bias": torch.zeros(2),
        "seen": torch.tensor([3, 4]),
    }
    save_file(tensors, folder / "first.safetensors")
    named = '\nfunction = "founders_nets:counting_rows"' if function else ""
    section = f'kind = "safetensors"\nfile = "first.safetensors"{named}'
    return agreed(folder, (MODEL, section))


def test_values_of_a_file_are_agreed_on_with_a_module_or_without(tmp_path: Path) -> None:
    alone, named = (safetensors(tmp_path, function=function) for function in (False, True))
    assert alone.model is not None
    assert named.model is not None
    assert (alone.model.section, alone.model.structure) == ({}, "")
    assert named.model.section["function"] == "founders_nets:counting_rows"
    for agreement in (alone, named):
        assert agreement.model is not None
        assert {spec.name for spec in agreement.core_manifest.tensors} == {"0.weight", "0.bias"}
        assert [buffer.values for buffer in agreement.model.buffers] == [[3, 4]]


def test_values_alone_ask_participants_for_what_computes(basel: Path, tmp_path: Path) -> None:
    alone = safetensors(tmp_path, function=False)
    (basel.parent / "federation.json").write_bytes(alone.canonical_json())
    section = r"\[model\][^\[]*\[model.options\][^\[]*"
    edited(basel, section, '[model]\nfunction = "founders_nets:rows"\n\n')
    with pytest.raises(ConfigError, match="its buffer 'seen' is not the agreed one of heart, int6"):
        build_app(read_setup(basel), ME)
    edited(basel, r"\[model\]\n.*\n", "")
    with pytest.raises(ConfigError, match="app is missing: heart agreed on tensors only; expected"):
        build_app(read_setup(basel), ME)


def test_values_alone_cannot_be_scored_by_evaluation(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(2)}, tmp_path / "w.safetensors")
    section = 'kind = "safetensors"\nfile = "w.safetensors"'
    scoring = 'name = "heart"\nevaluation_data = "x.csv"\nscoring = {kind = "leave_one_out"}'
    with pytest.raises(ConfigError, match=r'has values only; use scoring\.kind = "examples"'):
        agreed(tmp_path, (MODEL, section), ('name = "heart"', scoring))
