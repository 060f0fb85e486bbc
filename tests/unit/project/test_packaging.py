"""What is shipped: every package, every source file the package needs, one version."""

import re
import tomllib
from pathlib import Path

import coordinator

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TOP = ("coordinator", "clients", "contracts", "simulations")


def test_every_package_is_listed() -> None:
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in TOP
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found


def test_one_version() -> None:
    assert PROJECT["project"]["version"] == coordinator.__version__
    assert f"## {coordinator.__version__}" in (
        changelog := (ROOT / "CHANGELOG.md").read_text()
    ) or ("## Unreleased" in changelog)


def test_every_dependency_is_pinned_exactly() -> None:
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            pins[name.lower().replace("_", "-")] = version
    wanted = PROJECT["project"]["dependencies"] + [
        name for extra in PROJECT["project"]["optional-dependencies"].values() for name in extra
    ]
    for name in wanted:
        plain = re.split(r"[\[; =<>!~]", name, maxsplit=1)[0].lower()
        assert plain in pins, f"{name} has no pin in constraints.txt"
    assert pins["torch"] == "2.13.0"


def test_the_python_versions_are_those_of_the_page() -> None:
    """``docs/platforms.md`` has a column for each version that the metadata names."""
    project = PROJECT["project"]
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    header = re.search(r"^\| +\|.*$", (ROOT / "docs" / "platforms.md").read_text(), re.MULTILINE)
    assert header is not None
    assert re.findall(r"3\.\d+", re.sub(r"(3\.\d+)\.\d+", r"\1", header[0])) == named
    assert project["requires-python"] == f">={named[0]}"


def test_the_readmes_tree_is_the_tree() -> None:
    """Every folder and file that the tree names is there, and every package is named."""
    tree = (ROOT / "README.md").read_text().split("## The tree")[1].split("```")[1]
    named, top = set(), ""
    for line in tree.strip("\n").splitlines():
        words = line.split()
        if not line.startswith(" "):
            top = words.pop(0)
            named.add(top.rstrip("/"))
        for word in words:
            if not word.endswith(("/", ".py")):
                break
            named.add(top + word.rstrip("/"))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
    packages = {
        path.parent.relative_to(ROOT).as_posix()
        for package in TOP
        for path in (ROOT / package).glob("*/__init__.py")
    }
    assert packages - named == set()


def test_no_file_is_called_utils() -> None:
    assert not [path for top in TOP for path in (ROOT / top).rglob("utils.py")]
