"""A run's folder: its owner and lock, its chain, and the files of an interrupted run."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from coordinator.commands.version import versions
from coordinator.local.files import read_file
from coordinator.protocol.amounts import ether
from coordinator.protocol.canonical import parse_json
from coordinator.protocol.errors import ConfigError, VerificationError
from coordinator.stores.run_folder import RunFolder
from coordinator.stores.run_layout import LOCK
from simulations.experiment.base import SimulatedFederation
from simulations.run.chain import SimulatedChain, open_chain
from simulations.run.identities import EXTENSION_WEI, identities_of

RPC = "rpc"
_CONFIG = "config.json"
_SHOWN = 3
_LONGEST = 60
_FORMATS = ("fedproof-experiment-", "fedproof-app-")

F = TypeVar("F", bound=SimulatedFederation)


@contextmanager
def held_folder(
    folder: RunFolder, experiment: F, *, fresh: bool, extend: bool = False
) -> Iterator[F]:
    """Lock the folder, check that it is this experiment's, and yield what it was founded with.

    That is the experiment itself or, with ``extend``, the same with fewer rounds: the contract
    binds the digest of the configuration it was deployed with.

    Nothing is deleted in a folder that is not recognised as a run's: neither an earlier run
    (``fresh``) nor the unfinished files of a killed process.
    """
    _check_is_run(folder, fresh=fresh)
    folder.create()  # raises if another process has the folder locked
    try:
        if fresh:
            folder.clear()
        folder.discard_leftovers()
        config = experiment.canonical_json()
        if not folder.config.exists():
            folder.write(folder.config, config)
        founded = _founded(folder, experiment, extend=extend)
        versions_file = folder.root / "versions.json"
        if not versions_file.exists():
            text = json.dumps(versions(), indent=1, sort_keys=True)
            folder.write(versions_file, text.encode() + b"\n")
        yield founded
    finally:
        folder.release()


def _founded(folder: RunFolder, experiment: F, *, extend: bool) -> F:
    """Return the experiment that the folder's run was founded with."""
    stored, given = read_file(folder.config), experiment.canonical_json()
    if stored == given:
        return experiment
    shorter = _with_length_of(experiment, stored)
    is_same = shorter is not None and shorter.canonical_json() == stored
    if extend and is_same and shorter is not None and shorter.rounds < experiment.rounds:
        added_wei = experiment.rewards.pool_wei - shorter.rewards.pool_wei
        if added_wei > EXTENSION_WEI:
            raise ConfigError(
                f"rounds = {experiment.rounds}: {ether(added_wei)} would have to be added to the "
                f"pool of {folder.root}, whose coordinator owns no more than "
                f"{ether(EXTENSION_WEI)} for it; expected fewer rounds, or another --out"
            )
        return shorter
    hint = "; --rounds N makes a run longer, never shorter" if is_same else ""
    raise ConfigError(
        f"--out {folder.root}: holds a run of another configuration "
        f"({differences(stored, given)}); choose another folder with --out, or delete it with "
        f"--fresh{hint}"
    )


def _with_length_of(experiment: F, stored: bytes) -> F | None:
    """Return the experiment with rounds and pool of a stored one, ``None`` if it has none."""
    try:
        config = parse_json(stored, _CONFIG)
        rounds, pool_wei = int(config["rounds"]), int(config["rewards"]["pool_wei"])
    except (VerificationError, KeyError, TypeError, ValueError):
        return None
    rewards = experiment.rewards.model_copy(update={"pool_wei": pool_wei})
    return experiment.model_copy(update={"rounds": rounds, "rewards": rewards})


def differences(stored: bytes, given: bytes) -> str:
    """Return the keys by which two resolved experiments differ, the first three with both values.

    Parameters
    ----------
    stored, given
        Canonical JSON of the folder's experiment and of this one; ``stored`` may be damaged.
    """
    try:
        old, new = _leaves(parse_json(stored, _CONFIG)), _leaves(parse_json(given, _CONFIG))
    except VerificationError:
        return f"{_CONFIG} differs"
    parts = [
        f"{name} is {old.get(name, 'not set')} there, {new.get(name, 'not set')} here"
        for name in sorted({**old, **new})
        if old.get(name) != new.get(name)
    ]
    more = f"; and {len(parts) - _SHOWN} more" if parts[_SHOWN:] else ""
    return "; ".join(parts[:_SHOWN]) + more


def _leaves(value: Any, name: str = "") -> dict[str, str]:
    """Return the leaves of a JSON value by their dotted names, each as short JSON."""
    if not isinstance(value, dict):
        text = json.dumps(value)
        return {name: text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."}
    leaves: dict[str, str] = {}
    for key, inner in value.items():
        leaves |= _leaves(inner, f"{name}.{key}" if name else key)
    return leaves


def _check_is_run(folder: RunFolder, *, fresh: bool) -> None:
    """Refuse a folder with anything but a run; with ``fresh``, also a run with other files."""
    names = folder.names()
    if names and not _is_run(folder, names):
        reason = "config.json of something else" if folder.config.exists() else "no config.json"
        if fresh:
            raise ConfigError(f"--fresh: {folder.root} holds no run ({reason}); it is not deleted")
        raise ConfigError(
            f"--out {folder.root}: is not empty and holds no run ({reason}); choose another"
        )
    foreign = folder.foreign()
    if fresh and foreign:
        raise ConfigError(
            f"--fresh: {folder.root} holds more than a run: {', '.join(foreign[:5])}"
            f"{', ...' if foreign[5:] else ''}; nothing is deleted; move that away first"
        )


def _is_run(folder: RunFolder, names: Sequence[str]) -> bool:
    """Whether the folder has an experiment's config, or was locked to write one.

    A process killed before it has written the config leaves only the lock, which is empty, and a
    part of the config under its temporary name.
    """
    if _CONFIG in names:
        return _is_experiment(folder.config)
    is_new = {*names} <= {LOCK, f".tmp-{_CONFIG}"}
    lock = folder.root / LOCK
    return is_new and lock.is_file() and lock.stat().st_size == 0


def _is_experiment(path: Path) -> bool:
    """Whether a file is the configuration of a run, of any version."""
    if not path.is_file():
        return False
    try:
        value = parse_json(read_file(path), str(path))
    except VerificationError:
        return False
    return isinstance(value, dict) and str(value.get("format")).startswith(_FORMATS)


@contextmanager
def run_chain(
    experiment: SimulatedFederation, folder: RunFolder, initial_model_root: bytes
) -> Iterator[SimulatedChain]:
    """Open the run's chain with its federation deployed, and write ``federation.json``."""
    folder.chain.parent.mkdir(exist_ok=True)
    identities = identities_of(experiment)
    with open_chain(experiment, identities, folder.chain, initial_model_root) as chain:
        write_federation(folder, chain, complete=False)
        yield chain


def write_federation(
    folder: RunFolder, chain: SimulatedChain, *, complete: bool, rpc: str = ""
) -> None:
    """Write ``federation.json``: chain id, contracts, genesis and, if ``complete``, the head block.

    The head's hash is for ``fedproof verify --block``. ``rpc`` is the chain's URL for participants
    in other processes, during the run.
    """
    document: dict[str, object] = {
        "chain_id": chain.node.genesis.chain_id,
        "contract": chain.federation.address,
        "referee": chain.referee.address,
        "genesis": json.loads(chain.node.genesis.to_json()),
    }
    if rpc:
        document[RPC] = rpc
    if complete:
        head = chain.node.head
        document |= {"head_block": head.number, "head_hash": "0x" + head.hash.hex()}
    text = json.dumps(document, indent=1, sort_keys=True) + "\n"
    folder.write(folder.federation, text.encode())


def seconds_on_disk(path: Path) -> dict[int, float]:
    """Return the wall time of each round of an interrupted run; its last line may be truncated."""
    seconds = {}
    if path.is_file():
        for line in read_file(path).decode(errors="replace").splitlines():
            try:
                row = parse_json(line.encode(), path.name)
                seconds[int(row["round"])] = float(row["seconds"])
            except (VerificationError, ValueError, KeyError, TypeError):
                continue
    return seconds
