"""Reads a coordinator's folder, also while its service runs, without verifying or writing anything.

The embedded chain is read from a copy of its file as it was at one moment; an external chain from
the node that ``coordinator.toml`` names. ``coordinator.audit.verify`` is for whoever doubts.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from web3 import Web3

from contracts.binding.http_provider import web3_at
from contracts.binding.reader import FederationReader
from contracts.binding.rpc import rpc_of
from contracts.node.node import EmbeddedNode
from contracts.node.provider import EmbeddedProvider
from contracts.node.rpc import Dispatcher
from contracts.node.snapshot import snapshot
from coordinator.audit.coordinator_folder import CHAIN, CoordinatorFolder
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.types import Address
from coordinator.settings.agreement import FederationAgreement, read_agreement
from coordinator.settings.coordinator import load_coordinator
from coordinator.settings.registry import read_registry
from coordinator.stores.disk import DiskStore
from coordinator.stores.evaluations import EVALUATIONS, EvaluationFolder
from coordinator.stores.run_folder import FileJournal


@dataclass(frozen=True)
class FolderContents:
    """What is in a coordinator's folder.

    Attributes
    ----------
    agreement
        What the federation agreed on.
    federation
        The contract, at one block if the chain is embedded.
    store, journal, evaluations
        Artifacts, notes of rounds, and what participants claimed of models.
    names
        The registered participants' names by address.
    """

    agreement: FederationAgreement
    federation: FederationReader
    store: DiskStore
    journal: FileJournal
    evaluations: EvaluationFolder
    names: Mapping[Address, str]


@contextmanager
def read_folder(folder: CoordinatorFolder) -> Iterator[FolderContents]:
    """Open a coordinator's folder to read it; what is opened is closed afterwards.

    Raises
    ------
    ConfigError
        If a file is missing or malformed.
    ChainUnavailableError, LedgerError
        If the chain cannot be copied, or its node does not answer or has another contract.
    StoreError
        If a file cannot be read.
    """
    settings = load_coordinator(folder.settings)
    agreement, home = read_agreement(folder.agreement), folder.settings.parent
    registry = home / settings.flower.registry
    people = read_registry(registry).participants if registry.is_file() else []
    with ExitStack() as stack:
        if settings.chain.rpc:
            ca = home / settings.chain.ca if settings.chain.ca else None
            w3 = web3_at(settings.chain.rpc, ca_file=ca)
        else:
            w3 = _copied_chain(folder.state / CHAIN, stack)
        store = DiskStore(folder.state / "blobs", read_only=True)
        stack.callback(store.close)
        yield FolderContents(
            agreement,
            FederationReader(rpc_of(w3), agreement.domain.verifying_contract),
            store,
            FileJournal(folder.state / "rounds"),
            EvaluationFolder(folder.state / EVALUATIONS),
            {Address(one.address): one.name for one in people},
        )


def _copied_chain(path: Path, stack: ExitStack) -> Web3:
    if not path.is_file():
        raise ConfigError(
            f"{path}: no embedded chain there; expected what 'fedproof federation init' made"
        )
    node = EmbeddedNode.open_read_only(stack.enter_context(snapshot(path)))
    stack.callback(node.close)
    return Web3(EmbeddedProvider(Dispatcher(node, dev=False)))
