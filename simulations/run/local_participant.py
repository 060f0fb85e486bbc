"""The participants of a local federation, read from the federation's folder.

For ClientApps in Flower's simulation, in ``flwr run``, or in the process pool, on the machine that
the federation runs on. The keys follow from the settings and are not secret; a real participant's
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
    """Returns the participant of a node's ``Context``; has no state, so it can be pickled."""

    folder: Path

    def __call__(self, context: Context) -> Participant:
        settings = _settings(self.folder)
        number = context.node_config.get(PARTITION)
        if type(number) is not int or not 0 <= number < settings.contributors:
            raise ConfigError(
                f"node config: {PARTITION} is {number!r}, expected the number of a contributor of "
                f"{self.folder}, 0 to {settings.contributors - 1}"
            )
        federation = _read(self.folder / "federation.json")
        if not federation.get(RPC):
            raise ConfigError(f"{self.folder}: its run is over; nothing more can be signed for it")
        return Participant(
            KeySigner(private_key(settings.seed, f"contributor {number}")),
            _chain_view(str(federation[RPC]), str(federation["contract"])),
            sealed=settings.cohort.sealed,
        )


def local_participant(folder: str | Path) -> Callable[[Context], Participant]:
    """Return the participants by node, for ``VerifiableUpdates(local_participant(folder))``.

    The node's ``partition-id`` is the number of the contributor, as Flower's simulation sets it.

    Parameters
    ----------
    folder
        The folder given to :meth:`FedproofStrategy.local`. It is read at a node's first message,
        which raises ``ConfigError`` if the folder or the node's configuration is not as expected.
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
            f"{file}: cannot be read: {error.strerror}; expected the folder given to "
            "FedproofStrategy.local"
        ) from error
    except VerificationError as error:
        raise ConfigError(str(error)) from error
    if not isinstance(value, dict):
        raise ConfigError(f"{file}: expected a JSON object, found {type(value).__name__}")
    return value


@cache
def _chain_view(rpc: str, contract: str) -> CachedChainView:
    """Return this process's view of a chain; nodes share it, so that they verify a model once."""
    return CachedChainView(FederationChainView.at(rpc, contract))
