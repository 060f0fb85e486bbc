"""What ``pyproject.toml`` declares is what the code imports, for the package and for each extra."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SHIPPED = ("coordinator", "clients", "contracts", "simulations")
DEVELOPMENT = ("tests", "benchmarks")
# Compiles the contracts, whose output is in the repository: a developer's tool in a shipped folder.
COMPILER = ROOT / "contracts" / "compile.py"
# Each extra is what one file imports.
EXTRAS = {
    "hub": ROOT / "simulations" / "data" / "hub.py",
    "parquet": ROOT / "clients" / "data" / "parquet.py",
}
# Development tools that are run, not imported by the tests: the file that does, by which text.
RUN = {
    "opacus": ("docs/examples/differential-privacy/dpexample/client_app.py", "from opacus import"),
    "setuptools": ("pyproject.toml", '\nbuild-backend = "setuptools.build_meta"'),
    "pytest-timeout": ("pyproject.toml", "\ntimeout = "),
    "pytest-xdist": ("Makefile", "--dist "),
    "ruff": ("Makefile", "/ruff check"),
    "mypy": ("Makefile", "/mypy\n"),
}


def normal(name: str) -> str:
    """Return a distribution's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", name, maxsplit=1)[0]).lower()


def declared(requirements: Iterable[str]) -> set[str]:
    return {normal(requirement) for requirement in requirements}


def extra(name: str) -> set[str]:
    return declared(PROJECT["optional-dependencies"][name])


def sources(*folders: str) -> list[Path]:
    """Return the Python files of some folders, and those at the root for shipped ones."""
    inside = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return inside + (sorted(ROOT.glob("*.py")) if folders == SHIPPED else [])


def modules_of(path: Path) -> set[str]:
    """Return the top names a file imports, by statement or by a literal ``import_module``."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=str(module), level=0):
                found.add(module)
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                found.add(module)
    return {name.split(".")[0] for name in found} - sys.stdlib_module_names


def own_modules() -> set[str]:
    """Return what the repository itself offers to import, tests' helpers and sample apps too."""
    files = [p for p in sources(*SHIPPED, *DEVELOPMENT) if p.name != "__init__.py"]
    packages = [p.parent for p in sources(*DEVELOPMENT) if p.name == "__init__.py"]
    helpers = {p.stem for p in files if "support" in p.parts or p.parent == ROOT}
    return {*SHIPPED, *DEVELOPMENT, *helpers, *(p.name for p in packages)} | {
        path.stem for path in ROOT.glob("*.py")
    }


def imported(paths: Iterable[Path]) -> set[str]:
    """Return the distributions that files import something of."""
    own, known = own_modules(), packages_distributions()
    used: set[str] = set()
    for path in paths:
        for module in modules_of(path) - own:
            assert module in known, f"{path.relative_to(ROOT)} imports {module}: not installed"
            used |= {normal(distribution) for distribution in known[module]}
    return used


def test_the_package_declares_what_it_imports() -> None:
    others = (COMPILER, *EXTRAS.values())
    used = imported(path for path in sources(*SHIPPED) if path not in others)
    assert declared(PROJECT["dependencies"]) == used


@pytest.mark.parametrize("name", EXTRAS)
def test_an_extra_is_what_its_reader_imports(name: str) -> None:
    """By its text: the extra need not be installed."""
    used = {normal(module) for module in modules_of(EXTRAS[name]) - own_modules()}
    assert extra(name) == used - declared(PROJECT["dependencies"])


def test_no_other_extra_is_offered() -> None:
    assert set(PROJECT["optional-dependencies"]) == {"dev", *EXTRAS}


def test_the_dev_extra_is_what_tests_benchmarks_and_tools_need() -> None:
    used = imported([*sources(*DEVELOPMENT), COMPILER])
    assert extra("dev") == used - declared(PROJECT["dependencies"]) | set(RUN)


def test_what_is_not_imported_is_run() -> None:
    for tool, (file, text) in RUN.items():
        assert text in (ROOT / file).read_text(), f"{file} does not run {tool}"
