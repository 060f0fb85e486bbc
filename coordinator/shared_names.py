"""Lets an application have packages of its own named like ours, ``clients`` for instance.

Both are then one package in a process: ours first, and what is not in it from the application's,
wherever on ``sys.path`` that is. The root module and our four packages call :func:`share` (ADR
154). Imports nothing of ours, since the root module loads it by its path.
"""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, Final

NAMES: Final = ("clients", "contracts", "coordinator", "simulations")
_ROOT: Final = Path(__file__).resolve().parents[1]
_INIT: Final = "__init__.py"


class OurPackages:
    """A finder that comes first: these four names mean our packages, wherever a script starts."""

    @staticmethod
    def find_spec(
        name: str,
        path: Sequence[str] | None = None,  # noqa: ARG004  (importlib's interface)
        target: ModuleType | None = None,  # noqa: ARG004
    ) -> ModuleSpec | None:
        """Return the spec of one of our four packages, ``None`` of everything else."""
        if name not in NAMES:
            return None
        folder = _ROOT / name
        return importlib.util.spec_from_file_location(
            name, folder / _INIT, submodule_search_locations=[str(folder)]
        )


class TheirModules:
    """A finder that comes last: modules that our packages lack, from an application's."""

    @staticmethod
    def find_spec(
        name: str,
        path: Sequence[str] | None = None,  # noqa: ARG004  (importlib's interface)
        target: ModuleType | None = None,  # noqa: ARG004
    ) -> ModuleSpec | None:
        """Return the spec of ``clients.model`` in an application's ``clients``, if it has one."""
        package, _, rest = name.partition(".")
        if not rest or package not in NAMES:
            return None
        inside = name.split(".")[1:-1]
        return PathFinder.find_spec(
            name, [os.path.join(folder, *inside) for folder in _theirs(package)]
        )


def share(package: str | None = None) -> None:
    """Install both finders, and give packages that were imported before ours their second place.

    Harmless when repeated.

    Parameters
    ----------
    package
        One of ours, which calls this: what it has no attribute for is taken from an application's.

    Raises
    ------
    ImportError
        If a module that is no package has one of our names: both cannot be had in one process.
    """
    # By name: the root module and our packages load this file as two modules.
    if not any(getattr(each, "__name__", "") == OurPackages.__name__ for each in sys.meta_path):
        sys.meta_path.insert(0, OurPackages)
        sys.meta_path.append(TheirModules)
    for name in NAMES:
        if (module := sys.modules.get(name)) is None:
            continue
        if (folders := getattr(module, "__path__", None)) is None:
            raise ImportError(
                f"fedproof: the module {name} ({module.__file__}) was imported before it and has "
                "the name of one of its packages; expected another name, or a package (a folder)"
            )
        if (ours := str(_ROOT / name)) not in folders:  # an application's, imported first
            module.__path__ = [*folders, ours]
    if package is not None:
        vars(sys.modules[package])["__getattr__"] = _attributes_of(package)


def _theirs(package: str) -> Iterator[str]:
    """Yield the folders of this name on ``sys.path`` that are not ours."""
    for entry in sys.path:
        folder = os.path.join(entry or os.getcwd(), package)
        if os.path.isdir(folder) and Path(folder).resolve() != _ROOT / package:
            yield folder


def _attributes_of(name: str) -> Callable[[str], Any]:
    """Return a package's ``__getattr__``: names that only an application's ``__init__`` has."""

    def attribute(wanted: str) -> Any:
        if not wanted.startswith("__"):
            for folder in _theirs(name):
                if os.path.isfile(init := os.path.join(folder, _INIT)):
                    return getattr(_initialised(name, init), wanted)
        raise AttributeError(f"module {name!r} has no attribute {wanted!r}")

    return attribute


def _initialised(name: str, init: str) -> ModuleType:
    """Return the module of an application's ``__init__.py``, executed once."""
    alias = f"{name}.{Path(_INIT).stem}"
    if (loaded := sys.modules.get(alias)) is not None:
        return loaded
    spec = importlib.util.spec_from_file_location(alias, init)
    assert spec is not None  # it is a Python file
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    module.__package__ = name  # its relative imports are of the package
    sys.modules[alias] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[alias]
        raise
    return module
