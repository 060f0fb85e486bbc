"""A run's folder: whose it is, who holds it, where its chain is, what was on disk."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from coordinator.adapters.run_folder import RunFolder
from coordinator.commands.version import versions
from coordinator.core.canonical import parse_json
from coordinator.core.errors import ConfigError, VerificationError
from simulations.chain_setup import SimulatedChain, open_chain
from simulations.identities import identities_of
from simulations.schema import Experiment


@contextmanager
def held_folder(folder: RunFolder, experiment: Experiment, *, fresh: bool) -> Iterator[None]:
    """Lock the folder and make sure that it is this experiment's."""
    if fresh and folder.root.exists():
        _delete_run(folder)
    if folder.root.is_dir() and not _is_run(folder) and any(folder.root.iterdir()):
        raise ConfigError(f"--out {folder.root}: is not empty and holds no run; choose another")
    folder.create()
    try:
        config = experiment.canonical_json()
        if not folder.config.exists():
            folder.write(folder.config, config)
            text = json.dumps(versions(), indent=1, sort_keys=True)
            folder.write(folder.root / "versions.json", text.encode() + b"\n")
        elif folder.config.read_bytes() != config:
            raise ConfigError(
                f"--out {folder.root}: holds a run of another configuration (config.json differs);"
                " choose another folder, or delete it with --fresh"
            )
        yield
    finally:
        folder.release()


def _is_run(folder: RunFolder) -> bool:
    return folder.config.is_file() or (folder.root / ".lock").is_file()


def _delete_run(folder: RunFolder) -> None:
    if any(folder.root.iterdir()) and not _is_run(folder):
        raise ConfigError(
            f"--fresh: {folder.root} holds no run (no config.json); it is not deleted"
        )
    folder.create()  # refuses if another process is at work in it
    folder.release()
    shutil.rmtree(folder.root)


@contextmanager
def run_chain(
    experiment: Experiment, folder: RunFolder, initial_model_root: bytes
) -> Iterator[SimulatedChain]:
    """Open the run's chain, its federation deployed, and write down where it is."""
    folder.chain.parent.mkdir(exist_ok=True)
    identities = identities_of(experiment)
    with open_chain(experiment, identities, folder.chain, initial_model_root) as chain:
        write_federation(folder, chain, complete=False)
        yield chain


def write_federation(folder: RunFolder, chain: SimulatedChain, *, complete: bool) -> None:
    """Write where the commitments are; the head is for whoever wants to remember a block hash."""
    document: dict[str, object] = {
        "chain_id": chain.node.genesis.chain_id,
        "contract": chain.federation.address,
        "referee": chain.referee.address,
        "genesis": json.loads(chain.node.genesis.to_json()),
    }
    if complete:
        head = chain.node.head
        document |= {"head_block": head.number, "head_hash": "0x" + head.hash.hex()}
    text = json.dumps(document, indent=1, sort_keys=True) + "\n"
    folder.write(folder.federation, text.encode())


def seconds_on_disk(path: Path) -> dict[int, float]:
    """Return the wall times of an interrupted run; its last line may be half written."""
    found = {}
    if path.is_file():
        for line in path.read_text(errors="replace").splitlines():
            try:
                row = parse_json(line.encode(), path.name)
                found[int(row["round"])] = float(row["seconds"])
            except (VerificationError, ValueError, KeyError, TypeError):
                continue
    return found
