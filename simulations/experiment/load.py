"""From a TOML file, overrides and a seed to one checked :class:`Experiment`.

Every mistake is a :class:`ConfigError` of one line: the file, the key, what was found and what
was expected. Data sets are not touched here.
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
    """Return the names of the experiments that come with the package, sorted."""
    return sorted(path.stem for path in CONFIG_FOLDER.glob("*.toml"))


def load_experiment(
    config: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), seed: int | None = None
) -> Experiment:
    """Read an experiment and check all of it.

    Parameters
    ----------
    config
        A TOML file, the name of a shipped experiment (``"quickstart"``), or a mapping with what
        such a file would hold; it is not modified.
    overrides
        ``"key.path=value"`` each, in order; the value is read as TOML, or else as text.
        ``behaviours.0.scale=2.0`` reaches into a list. ``partition.kind=iid`` takes the file's
        options that only the former kind knows out with it.
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
    """Read back what :meth:`Experiment.canonical_json` wrote; ``source`` is named in errors.

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
    """Apply one override in place and return its key path; ``earlier`` ones are kept."""
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
    """Take out what only other kinds know, so that a kind can be changed by one override.

    What no kind knows is a mistake, and what an override gave is a contradiction: both stay, to
    be refused.
    """
    if (own := options_of_kind(path[0], str(table["kind"]), Experiment)) is None:
        return
    known = frozenset().union(*options_by_kind(path[0], Experiment).values())
    if isinstance(former, str):  # also one from outside the package
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
    # A line break could smuggle in further keys: then it is just text.
    return parsed["value"] if set(parsed) == {"value"} else text.strip()
