"""Registries: what a package's files offer by name, and what stands outside as ``module:name``."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.registry import Registry


@dataclass(frozen=True)
class Fruit:
    name: str


class Animal:
    name = ""


FILES = {
    "garden/__init__.py": "",
    "garden/red.py": f"from {__name__} import Fruit\nAPPLE = Fruit('apple')\nCOUNT = 3\n",
    # an object that two files hold is one entry
    "garden/both.py": (
        f"from garden.red import APPLE\nfrom {__name__} import Fruit\nPEAR = Fruit('pear')\n"
    ),
    "garden/inner/__init__.py": f"from {__name__} import Fruit\nINNER = Fruit('inner')\n",
    "zoo/__init__.py": "",
    "zoo/base.py": f"from {__name__} import Animal\nclass Cat(Animal):\n    name = ''\n",
    "zoo/lion.py": "from zoo.base import Cat\nclass Lion(Cat):\n    name = 'lion'\n",
    "zoo/tiger.py": "from zoo.base import Cat\nclass Tiger(Cat):\n    name = 'tiger'\n",
    "market.py": f"from {__name__} import Fruit\nPLUM = Fruit('plum')\nPRICE = 3\n",
    "broken.py": "import no_such_module_anywhere\n",
    "unreadable.py": "def\n",
    "raising.py": "\nraise ValueError('a\\nb')\n",
    "ending.py": "import sys\nsys.exit(0)\n",
    "refusing.py": (
        "from coordinator.protocol.errors import ConfigError\n"
        "raise ConfigError('fruit: too sour')\n"
    ),
    "twice/__init__.py": "",
    "twice/one.py": f"from {__name__} import Fruit\nA = Fruit('fig')\n",
    "twice/two.py": f"from {__name__} import Fruit\nB = Fruit('fig ')\nC = Fruit('fig')\n",
}
MODULES = {name.split("/", maxsplit=1)[0].removesuffix(".py") for name in FILES}


@pytest.fixture(autouse=True)
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] in MODULES]:
        monkeypatch.delitem(sys.modules, name)


def fruits(package: str = "garden") -> Registry[Fruit]:
    return Registry.of_objects(package, Fruit, what="fruit", name_of=lambda fruit: fruit.name)


def animals() -> Registry[type[Animal]]:
    return Registry.of_classes("zoo", Animal, what="animal", name_of=lambda a: a.name or None)


def refusal(name: str) -> str:
    with pytest.raises(ConfigError) as caught:
        fruits().get(name)
    return str(caught.value)


def test_objects_of_all_files_are_found_by_name() -> None:
    assert fruits().names() == ("apple", "pear")
    assert fruits().get("pear") == Fruit("pear")


def test_classes_are_found_where_they_are_defined_and_unnamed_bases_left_out() -> None:
    assert animals().names() == ("lion", "tiger")
    assert animals().get("lion").__name__ == "Lion"


def test_an_entry_from_outside_is_named_by_module_and_name() -> None:
    assert fruits().get("market:PLUM") == Fruit("plum")
    assert "market:PLUM" not in fruits().names()


def test_nothing_is_imported_before_an_entry_is_asked_for() -> None:
    registry = fruits("no_such_package_anywhere")
    with pytest.raises(ModuleNotFoundError):
        registry.names()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "aple",
            'fruit "aple": expected "apple" or "pear", or "module:NAME" for one of your own; '
            'did you mean "apple"?',
        ),
        (
            "zzzzzzzz",
            'fruit "zzzzzzzz": expected "apple" or "pear", or "module:NAME" for one of your own',
        ),
        (
            "broken:X",
            'fruit "broken:X": module broken cannot be imported: No module named '
            "'no_such_module_anywhere'",
        ),
        ("market:PLUN", 'fruit "market:PLUN": module market has no "PLUN"; did you mean'),
        ("market:zzzzz", 'fruit "market:zzzzz": module market has no "zzzzz"'),
        (
            "market:PRICE",
            'fruit "market:PRICE": found int, expected an object of type Fruit',
        ),
        (
            "market:Fruit",
            'fruit "market:Fruit": found class Fruit, expected an object of type Fruit',
        ),
        (
            "raising:X",
            'fruit "raising:X": module raising cannot be imported: ValueError: a b (raising.py, '
            "line 2)",
        ),
        (
            "ending:X",
            'fruit "ending:X": module ending cannot be imported: SystemExit: 0 (ending.py, line 2)',
        ),
        (
            "refusing:X",
            'fruit "refusing:X": module refusing cannot be imported: fruit: too sour',
        ),
        ("unreadable:X", 'fruit "unreadable:X": module unreadable cannot be imported: '),
        (":PLUM", 'fruit ":PLUM": expected the dotted name of a module, a colon, and a name'),
        ("market:", 'fruit "market:": expected the dotted name of a module, a colon, and a name'),
        ("market:a:b", 'fruit "market:a:b": expected the dotted name of a module'),
    ],
)
def test_what_is_not_there_is_refused_by_name(name: str, message: str) -> None:
    assert message in refusal(name)
    assert "\n" not in refusal(name)


def test_an_entry_of_another_class_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"found class Fruit, expected a class derived from Anim"):
        animals().get("market:Fruit")


def test_two_entries_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match='two of its files define the fruit "fig", the second'):
        fruits("twice").names()
