"""``import fedproof``: every public name is there, is documented, and the import is cheap."""

import ast
import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fedproof

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "api.md").read_text()
HEAVY = ("eth", "flwr", "numba", "numpy", "pydantic", "torch", "web3")


def section(name: str) -> str:
    """Return the part of the page under a name's own heading."""
    found = re.search(rf"^### `{name}`$.*?(?=^###? |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/api.md has no heading for {name}"
    return found[0]


def squeezed(text: str) -> str:
    """Return a text without white space and commas before a closing bracket."""
    return re.sub(r",(?=\))", "", re.sub(r"\s+", "", text))


def signature_of(function: object) -> str:
    found = inspect.signature(function)  # type: ignore[arg-type]
    plain = [p.replace(annotation=p.empty) for p in found.parameters.values()]
    return str(found.replace(parameters=plain, return_annotation=inspect.Signature.empty))


ERRORS = [name for name in fedproof.__all__ if name.endswith("Error")]
RECORDS = [
    name
    for name in fedproof.__all__
    if dataclasses.is_dataclass(getattr(fedproof, name)) and name != "Participant"
]
BASES = [
    "ContributorAttack",
    "CoordinatorAttack",
    "DataSource",
    "Metric",
    "ModelKind",
    "PartitionRule",
]
# made by others of the page, a protocol, or to be derived from
NOT_CALLED = {
    *ERRORS,
    *RECORDS,
    *BASES,
    "Experiment",
    "UpdateSigner",
    "FederationChainView",
    "WEIGHT_TOTAL",
    "__version__",
}


def test_every_name_resolves_to_what_its_module_has() -> None:
    for module, names in fedproof._MODULES.items():
        for name in names:
            assert getattr(fedproof, name) is getattr(importlib.import_module(module), name)
    assert {*fedproof._MODULE_OF, "__version__"} == set(fedproof.__all__)
    assert sorted(fedproof.__all__) == dir(fedproof)


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((ROOT / "fedproof.py").read_text())
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.name: str(node.module)
        for node in ast.walk(blocks[0])
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == fedproof._MODULE_OF


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'fedproof' has no attribute 'simulat'"):
        fedproof.simulat  # noqa: B018


def test_every_name_has_its_place_on_the_page_and_no_other_has() -> None:
    headings = re.findall(r"^### `(\w+)`$", PAGE, re.MULTILINE)
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(headings + rows) == sorted(fedproof.__all__)
    assert sorted(rows) == ERRORS


@pytest.mark.parametrize("name", sorted(set(fedproof.__all__) - NOT_CALLED))
def test_the_signature_on_the_page_is_the_real_one(name: str) -> None:
    expected = name + signature_of(getattr(fedproof, name))
    assert squeezed(expected) in squeezed(section(name))


def test_how_a_chain_view_is_made() -> None:
    expected = "FederationChainView.at" + signature_of(fedproof.FederationChainView.at)
    assert squeezed(expected) in squeezed(section("FederationChainView"))


@pytest.mark.parametrize("name", ["local", "from_file"])
def test_how_a_strategy_is_made(name: str) -> None:
    expected = f"FedproofStrategy.{name}" + signature_of(getattr(fedproof.FedproofStrategy, name))
    assert squeezed(expected) in squeezed(section("FedproofStrategy"))


@pytest.mark.parametrize("name", RECORDS)
def test_every_field_of_a_record_is_named(name: str) -> None:
    fields = [field.name for field in dataclasses.fields(getattr(fedproof, name))]
    assert [field for field in fields if f"`{field}`" not in section(name)] == []


@pytest.mark.parametrize("name", BASES)
def test_every_hook_of_a_base_is_named(name: str) -> None:
    base = getattr(fedproof, name)
    derived_from = {name for parent in base.__mro__[1:] for name in vars(parent)}
    told = {"changes_data", "sends_second_update"}  # follow from the hooks
    hooks = {name for name in vars(base) if not name.startswith(("_", "model_"))}
    assert [h for h in sorted(hooks - derived_from - told) if f"`{h}`" not in section(name)] == []


@pytest.mark.parametrize("page", ["README.md", "docs/api.md", "docs/flower.md", "docs/operate.md"])
def test_user_code_imports_nothing_private(page: str) -> None:
    text = (ROOT / page).read_text()
    private = r"^(?:>>> )?\s*(?:from|import) (?:coordinator|clients|contracts|simulations)\b.*"
    assert re.findall(private, text, re.MULTILINE) == []


def test_the_import_is_cheap() -> None:
    script = f"import sys, fedproof; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_python_m_fedproof_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fedproof", "version", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f'"fedproof": "{fedproof.__version__}"' in done.stdout
