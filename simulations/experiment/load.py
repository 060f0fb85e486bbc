"""Reads a TOML file, overrides and a seed into one checked :class:`Experiment`.

Every mistake is a :class:`ConfigError` of one line: the file, the key, what was found and what
was expected. Not handled: data sets.
"""

import copy
import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coordinator.protocol.canonical import parse_json
from coordinator.protocol.errors import ConfigError, VerificationError
from coordinator.settings.load import options_by_kind, options_of_kind, read_toml, validated
from simulations.data.own_data import OwnData
from simulations.experiment.schema import Experiment

CONFIG_FOLDER = Path(__file__).parents[1] / "configs"


def shipped_experiments() -> Sequence[str]:
    """Return the names of the experiments in the package, sorted."""
    return sorted(path.stem for path in CONFIG_FOLDER.glob("*.toml"))


def load_experiment(
    config: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), seed: int | None = None
) -> Experiment:
    """Read an experiment and check all of it.

    Parameters
    ----------
    config
        A TOML file, the name of a shipped experiment (``"quickstart"``), or a mapping with the
        contents of such a file; it is not modified.
    overrides
        ``"key.path=value"`` each, in order; the value is parsed as TOML, or else taken as text.
        ``behaviours.0.scale=2.0`` sets a value in a list. ``partition.kind=iid`` also removes those
        options of the file that only the former kind has.
    seed
        Replaces ``seed`` of the file, after the overrides.

    Raises
    ------
    ConfigError
        Naming file, key, what was found and what was expected.
    """
    folder = Path()
    if isinstance(config, Mapping):
        source, raw = "experiment", copy.deepcopy(dict(config))
    else:
        file = _find(str(config))
        source, raw, folder = str(file), read_toml(file), file.absolute().parent
    overridden: list[str] = []
    for text in overrides:
        overridden.append(_override(raw, text, overridden))
    if seed is not None:
        raw["seed"] = seed
        overridden.append("seed")
    experiment = _validate(raw, source, overridden)
    if isinstance(experiment.data, OwnData):
        experiment.data.place_beside(folder)
    return experiment


def experiment_from_json(data: bytes, source: str) -> Experiment:
    """Parse the output of :meth:`Experiment.canonical_json`; ``source`` is named in errors.

    Raises
    ------
    ConfigError
        If the bytes are not JSON, or not an experiment of this version.
    """
    try:
        raw = parse_json(data, source)
    except VerificationError as error:
        raise ConfigError(str(error)) from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{source}: expected a JSON object, found {type(raw).__name__}")
    return _validate(raw, source, ())


def _validate(raw: Mapping[str, Any], source: str, overridden: Sequence[str]) -> Experiment:
    return validated(Experiment, raw, source, overridden)


def _find(name: str) -> Path:
    shipped = shipped_experiments()
    if Path(name).exists():
        return Path(name)
    if name in shipped:
        return CONFIG_FOLDER / f"{name}.toml"
    close = difflib.get_close_matches(name.removesuffix(".toml"), shipped, n=1)
    hint = f'; did you mean "{close[0]}"?' if close else ""
    raise ConfigError(
        f"experiment {name}: no such file, and not one of the shipped experiments "
        f"({', '.join(shipped)}){hint}"
    )


def _override(raw: dict[str, Any], text: str, earlier: Sequence[str]) -> str:
    """Apply one override in place and return its key path; ``earlier`` are those before it."""
    key, equals, value = text.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not equals or not all(path):
        raise ConfigError(f"--set {text}: expected key.path=value, e.g. training.epochs=2")
    target: Any = raw
    for depth, part in enumerate(path[:-1]):
        target = _child(target, part, f"--set {text}", ".".join(path[: depth + 1]))
    if isinstance(target, list):
        target[_index(target, path[-1], f"--set {text}", key)] = _value(value)
    else:
        former = target.get("kind")
        target[path[-1]] = _value(value)
        if path[-1] == "kind" and len(path) in (2, 3):
            _drop_former_options(target, former, path[:-1], earlier)
    return ".".join(path)


def _drop_former_options(
    table: dict[str, Any], former: Any, path: Sequence[str], earlier: Sequence[str]
) -> None:
    """Remove options that only other kinds have, so that one override can change a kind.

    Options that no kind has, and those set by an earlier override, are kept, so that validation
    refuses them.
    """
    if (own := options_of_kind(path[0], str(table["kind"]), Experiment)) is None:
        return
    known = frozenset().union(*options_by_kind(path[0], Experiment).values())
    if isinstance(former, str):  # it may be from outside the package, and not in ``known``
        known |= options_of_kind(path[0], former, Experiment) or frozenset()
    for name in [name for name in table if name in known - own]:
        if ".".join((*path, name)) not in earlier:
            del table[name]


def _child(target: Any, part: str, source: str, place: str) -> Any:
    if isinstance(target, list):
        child = target[_index(target, part, source, place)]
    else:
        child = target.setdefault(part, {})
    if not isinstance(child, dict | list):
        raise ConfigError(f"{source}: {place} is the value {child!r}, not a table")
    return child


def _index(target: list[Any], part: str, source: str, place: str) -> int:
    if not part.isdecimal() or int(part) >= len(target):
        raise ConfigError(
            f"{source}: {place} must be an index from 0 to {len(target) - 1}, found {part!r}"
        )
    return int(part)


def _value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text.strip()}")
    except tomllib.TOMLDecodeError:
        return text.strip()
    # Text with a line break could set further keys; it is taken as text then.
    return parsed["value"] if set(parsed) == {"value"} else text.strip()
