"""The parts of a participant's daemon: its state on disk, and the parts that need a connection.

Not handled: reconnecting to the chain, and the SuperNode (``service``).
"""

from dataclasses import dataclass

# isort: split
from eth_account.signers.local import LocalAccount

from clients.daemon import chain
from clients.daemon.account_manager import AccountManager
from clients.daemon.agreed_config import AgreedConfig
from clients.daemon.chain import HistoryGuard
from clients.daemon.contexts import Contexts
from clients.daemon.history import BlockHistory
from clients.daemon.message_handler import MessageHandler
from clients.daemon.model_copies import ModelCopies
from clients.daemon.periodic_tasks import Faults, PeriodicTasks
from clients.daemon.received import ReceivedModels
from clients.daemon.replies import ReplyStore
from clients.daemon.setup import Setup
from clients.mod.journal import FileJournal
from clients.mod.pending import FilePending
from clients.mod.signer import KeySigner
from clients.mod.verifiable_updates import ClientAppCallable, Participant
from coordinator.stores.http import HttpStore, Reader
from coordinator.stores.instructions import InstructionFolder


@dataclass(frozen=True)
class KeptState:
    """The daemon's durable state, in the participant's state folder.

    Attributes
    ----------
    history
        Hashes of blocks that were seen.
    replies, contexts
        The replies given, and the application's state between messages.
    journal
        The updates signed.
    instructions
        What the coordinator signed.
    """

    history: BlockHistory
    replies: ReplyStore
    contexts: Contexts
    journal: FileJournal
    instructions: InstructionFolder

    @classmethod
    def of(cls, setup: Setup) -> "KeptState":
        """Open a participant's state.

        Raises
        ------
        StoreError
            If one of its files is damaged, or the disk fails.
        """
        settings = setup.settings
        return cls(
            BlockHistory(setup.state / "blocks.jsonl", confirmations=settings.coordinator.depth),
            ReplyStore(setup.state / "replies"),
            Contexts(setup.state / "context.state", settings.node.config),
            FileJournal(setup.state / "journal.jsonl"),
            InstructionFolder(setup.state / "instructions"),
        )


@dataclass
class Connected:
    """The parts that exist once the chain was reached and checked."""

    periodic_tasks: PeriodicTasks
    message_handler: MessageHandler


def connect(
    setup: Setup,
    account: LocalAccount,
    app: ClientAppCallable,
    kept: KeptState,
    faults: Faults,
) -> Connected:
    """Connect to the chain, check it, and build the parts that use the connection.

    Messages are answered over a separate connection.

    Raises
    ------
    LedgerError
        If the node does not answer.
    WrongFederationError
        If its chain or contract is not the agreed one.
    """
    settings, key = setup.settings, bytes(account.key)
    rpc = settings.coordinator.rpc
    link = chain.connect(rpc, setup.rpc_ca, setup.agreement)
    messages = chain.connect(rpc, setup.rpc_ca, setup.agreement)
    guard = HistoryGuard(messages.federation, kept.history)
    participant = Participant(
        KeySigner(key),
        messages.view,
        kept.journal,
        setup.agreement.rule_hash,
        FilePending(setup.state / "pending"),
        setup.agreement.sealed,
        kept.instructions,
    )
    manifest = setup.agreement.core_manifest
    received = ReceivedModels(setup.state / "received", manifest)
    message_handler = MessageHandler(
        participant,
        app,
        kept.replies,
        kept.journal,
        guard,
        settings.limits,
        kept.contexts,
        received,
        AgreedConfig(setup.agreement.config, settings.app),
    )
    models = ModelCopies(setup.state / "models", manifest, settings.models.keep, received)
    models.prepare()
    account_manager = AccountManager(
        link.federation,
        account,
        settings.stake,
        settings.rewards,
        setup.state / "bond.json",
    )
    reader = Reader(setup.agreement.domain, key)
    store = HttpStore(settings.coordinator.store, ca_file=setup.ca, reader=reader)
    return Connected(
        PeriodicTasks(link, guard, account_manager, store, models, faults), message_handler
    )
