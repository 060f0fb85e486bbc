"""Who a node of a local federation takes part as: found in the federation's folder.

For ClientApps in Flower's simulation, in ``flwr run``, or in the process pool, on the machine that
the federation runs on. The keys follow from the settings and protect nothing; a real participant's
settings are those of :mod:`clients.mod.participant`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

# isort: split
from flwr.app import Context

from clients.mod.chain_contract import FederationChainView
from clients.mod.chain_view import CachedChainView
from clients.mod.participation import Participant
from clients.mod.signer import KeySigner
from coordinator.protocol.canonical import parse_json
from coordinator.protocol.errors import ConfigError, VerificationError
from simulations.experiment.app import AppFederation, app_federation
from simulations.run.files import RPC
from simulations.run.identities import private_key

PARTITION = "partition-id"


@dataclass(frozen=True)
class _LocalParticipants:
    """Called with a node's ``Context``; remembers nothing, so it can go to other processes."""

    folder: Path

    def __call__(self, context: Context) -> Participant:
        settings = _settings(self.folder)
        number = context.node_config.get(PARTITION)
        if type(number) is not int or not 0 <= number < settings.contributors:
            raise ConfigError(
                f"node config: {PARTITION} is {number!r}, expected the number of a contributor of "
                f"{self.folder}, 0 to {settings.contributors - 1}"
            )
        where = _read(self.folder / "federation.json")
        if not where.get(RPC):
            raise ConfigError(f"{self.folder}: its run is over; nothing more can be signed for it")
        return Participant(
            KeySigner(private_key(settings.seed, f"contributor {number}")),
            _chain_view(str(where[RPC]), str(where["contract"])),
            sealed=settings.cohort.sealed,
        )


def local_participant(folder: str | Path) -> Callable[[Context], Participant]:
    """Return what tells each node who it is, for ``VerifiableUpdates(local_participant(folder))``.

    The node's ``partition-id`` is the number of the contributor, as Flower's simulation sets it.

    Parameters
    ----------
    folder
        What :meth:`FedproofStrategy.local` was given. Looked into at a node's first message, and
        not before; then a ``ConfigError`` says what is wrong with it, or with the node.
    """
    return _LocalParticipants(Path(folder).absolute())


def _settings(folder: Path) -> AppFederation:
    raw = _read(folder / "config.json")
    return app_federation(raw, str(folder / "config.json"))


def _read(file: Path) -> dict[str, Any]:
    try:
        value = parse_json(file.read_bytes(), str(file))
    except OSError as error:
        raise ConfigError(
            f"{file}: cannot be read: {error.strerror}; expected the folder that "
            "FedproofStrategy.local was given"
        ) from error
    except VerificationError as error:
        raise ConfigError(str(error)) from error
    if not isinstance(value, dict):
        raise ConfigError(f"{file}: expected a JSON object, found {type(value).__name__}")
    return value


@cache
def _chain_view(rpc: str, contract: str) -> CachedChainView:
    """Return the one view of a chain in this process: nodes that share it verify a model once."""
    return CachedChainView(FederationChainView.at(rpc, contract))
