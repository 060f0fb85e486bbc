"""Registries: what a package offers by name, found by looking through its files.

A registry lists the entries (classes or objects of one type) that the modules of one package
define, so that adding a file adds an entry. An entry of any other package is named as
``module:name``. Not handled: installed entry points, and files outside the import path.
"""

import contextlib
import difflib
import importlib
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from types import MappingProxyType, ModuleType
from typing import Any, Generic, TypeVar

from coordinator.protocol.errors import ConfigError, FedproofError, OutsideCodeError

Entry = TypeVar("Entry")
Base = TypeVar("Base")

SEPARATOR = ":"
"""Between the module and the name of an entry from outside the package."""


class Registry(Generic[Entry]):
    """Entries of one kind, by name.

    Build it with :meth:`of_classes` or :meth:`of_objects`. The package's modules are imported when
    an entry is first asked for, not before: they may import what builds the registry.

    Parameters
    ----------
    package
        Dotted name of the package whose modules are looked through; not those of its
        sub-packages, and not the package's own ``__init__``.
    what
        What an entry is, for messages: ``"aggregation rule"``.
    accepts
        Whether an object that a module holds is an entry.
    expects
        The same for messages: ``"an object of type AggregationRule"``.
    name_of
        Returns an entry's name; ``None`` for what is not offered by name, such as a base class
        that several entries share.
    """

    def __init__(
        self,
        package: str,
        *,
        what: str,
        accepts: Callable[[object], bool],
        expects: str,
        name_of: Callable[[Any], str | None],
    ) -> None:
        self.package, self.what = package, what
        self._accepts, self._expects, self._name_of = accepts, expects, name_of

    @classmethod
    def of_classes(
        cls,
        package: str,
        base: type[Base],
        *,
        what: str,
        name_of: Callable[[type[Base]], str | None],
    ) -> "Registry[type[Base]]":
        """Return a registry of the classes that derive from ``base``, itself left out."""

        def accepts(value: object) -> bool:
            return isinstance(value, type) and issubclass(value, base) and value is not base

        expects = f"a class derived from {base.__name__}"
        return Registry(package, what=what, accepts=accepts, expects=expects, name_of=name_of)

    @classmethod
    def of_objects(
        cls,
        package: str,
        base: type[Base],
        *,
        what: str,
        name_of: Callable[[Base], str | None],
    ) -> "Registry[Base]":
        """Return a registry of the module-level objects of type ``base``."""
        return Registry(
            package,
            what=what,
            accepts=lambda value: isinstance(value, base),
            expects=f"an object of type {base.__name__}",
            name_of=name_of,
        )

    @cached_property
    def shipped(self) -> Mapping[str, Entry]:
        """The package's entries, by name in alphabetical order.

        Raises
        ------
        ConfigError
            If two entries have the same name.
        """
        entries: dict[str, Entry] = {}
        for module in _modules_of(self.package):
            for entry in self._entries_of(module):
                name = self._name_of(entry)
                if name is None or entries.get(name) is entry:
                    continue
                if name in entries:
                    raise ConfigError(
                        f'{self.package}: two of its files define the {self.what} "{name}", the '
                        f"second in {module.__name__}; expected one"
                    )
                entries[name] = entry
        return MappingProxyType(dict(sorted(entries.items())))

    def names(self) -> tuple[str, ...]:
        """Return the names of the package's entries, in alphabetical order."""
        return tuple(self.shipped)

    def get(self, name: str) -> Entry:
        """Return an entry.

        Parameters
        ----------
        name
            A name of :meth:`names`, or ``module:name`` of an entry anywhere on the import path.
            The module is imported, which runs its code.

        Raises
        ------
        ConfigError
            If there is no such entry (with the closest names), the module cannot be imported, or
            what it holds under that name is not an entry.
        """
        if SEPARATOR in name:
            return self._outside(name)
        if name not in self.shipped:
            raise ConfigError(f'{self.what} "{name}": {self.expected(name)}')
        return self.shipped[name]

    def loaded(self, name: str) -> Entry | None:
        """Return an entry without importing anything from outside; ``None`` if there is none.

        For names that somebody else wrote, such as those in documents: they can only mean entries
        of the package, or of modules that this process has imported already.
        """
        if SEPARATOR not in name:
            return self.shipped.get(name)
        module_name, _, attribute = name.partition(SEPARATOR)
        entry = getattr(sys.modules.get(module_name), attribute, None)
        return entry if self._accepts(entry) else None

    def expected(self, name: str) -> str:
        """Return what was expected instead of an unknown name, with the closest one, if any."""
        names = self.names()
        choices = " or ".join(f'"{choice}"' for choice in names)
        close = difflib.get_close_matches(name, names, n=1)
        hint = f'; did you mean "{close[0]}"?' if close else ""
        return f'expected {choices}, or "module{SEPARATOR}NAME" for one of your own{hint}'

    def _entries_of(self, module: ModuleType) -> Iterator[Entry]:
        for value in vars(module).values():
            is_imported = isinstance(value, type) and value.__module__ != module.__name__
            if self._accepts(value) and not is_imported:
                yield value

    def _outside(self, name: str) -> Entry:
        entry = outside_object(name, f'{self.what} "{name}"')
        if not self._accepts(entry):
            found = f"class {entry.__name__}" if isinstance(entry, type) else type(entry).__name__
            raise ConfigError(f'{self.what} "{name}": found {found}, expected {self._expects}')
        accepted: Entry = entry
        return accepted


def outside_object(name: str, place: str) -> Any:
    """Return what ``module:name`` names; the module is imported, which runs its code.

    Parameters
    ----------
    name
        The module's dotted name, a colon, and a name in it.
    place
        What names it, for messages: ``'metric "my_metrics:F2"'``.

    Raises
    ------
    OutsideCodeError
        If the text is not of that form, the module cannot be imported, or it has no such name.
    """
    module_name, _, attribute = name.partition(SEPARATOR)
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        raise OutsideCodeError(
            f"{place}: expected the dotted name of a module, a colon, and a name in that module"
        )
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # somebody else's code: anything may come out
        raise OutsideCodeError(
            f"{place}: module {module_name} cannot be imported: {_reason(error, module_name)}"
        ) from error
    if attribute not in vars(module):
        close = difflib.get_close_matches(attribute, vars(module), n=1)
        hint = f'; did you mean "{module_name}{SEPARATOR}{close[0]}"?' if close else ""
        raise OutsideCodeError(f'{place}: module {module_name} has no "{attribute}"{hint}')
    return vars(module)[attribute]


def _reason(error: BaseException, module: str) -> str:
    """Say in one line why a module could not be imported, and in which of its lines."""
    text = " ".join(str(error).split())
    if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
        return f"{text}; its folder has to be on the import path (PYTHONPATH=FOLDER)"
    if isinstance(error, ImportError | SyntaxError | FedproofError):
        return text
    return failure_of(error)


@contextlib.contextmanager
def outside_code(kind: str, place: str) -> Iterator[None]:
    """Name the place of what code from outside the package raises.

    Parameters
    ----------
    kind
        What was named; errors of the package's own code pass as they are.
    place
        What runs, for the message: ``data.kind = "mine:Wine": load``.

    Raises
    ------
    OutsideCodeError
        If the code raises something else than a ``FedproofError``, which has words of its own.
    """
    try:
        yield
    except FedproofError:
        raise
    except (Exception, SystemExit) as error:  # somebody else's code: anything may come out
        if SEPARATOR not in kind:
            raise
        raise OutsideCodeError(f"{place} raised {failure_of(error)}") from error


_LIBRARIES = re.compile(r"/(?:site-packages|python3\.\d+)/")


def failure_of(error: BaseException) -> str:
    """Return kind and text of an error of somebody else's code, and where in it, as one line.

    Examples
    --------
    >>> try:
    ...     1 // 0
    ... except ZeroDivisionError as error:
    ...     failure_of(error).partition(" (")[0]
    'ZeroDivisionError: integer division or modulo by zero'
    """
    text = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    # The last line of the author's own: what it called in a library tells less.
    own = [frame for frame in frames if not _LIBRARIES.search(frame.filename)]
    last = (own or frames)[-1]
    file = last.filename.rpartition("/")[2]
    return f"{type(error).__name__}: {text} ({file}, line {last.lineno})"


def _modules_of(package: str) -> Iterator[ModuleType]:
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        if not module.ispkg:
            yield importlib.import_module(module.name)
