"""A federation on this machine for a user's own Flower app, in one folder.

Chain, contract, keys, bonds and store are created when it is first opened; opened again, it
continues after the last round. Participants in other processes reach the chain over HTTP on
loopback; they read its URL from the folder (:mod:`simulations.run.local_participant`). The keys are
not secret: they follow from the settings. Not handled: Flower (:mod:`simulations.run.strategy`).
"""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from contracts.node.rpc import Dispatcher
from contracts.node.server import serve_in_thread
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.round.feed import RoundFeed
from coordinator.protocol.types import RoundId
from coordinator.service.agreement import agreed_model, agreed_scoring
from coordinator.service.round_service import RoundService
from coordinator.service.scorers import scorer_from
from coordinator.service.trial import try_outside_code
from coordinator.stores.disk import DiskStore
from coordinator.stores.run_folder import FileJournal, RunFolder
from simulations.attacks.contributor import HONEST
from simulations.experiment.app import AppFederation, app_federation
from simulations.run.agreement import PublishedAgreement, agree_on
from simulations.run.chain import SimulatedChain
from simulations.run.coordinator import publish
from simulations.run.files import held_folder, run_chain, write_federation
from simulations.run.round_records import RoundRecorder, Trainer
from simulations.run.run_records import RunRecords

_OWN_ARGUMENTS = ("contributors", "initial_model_root", "format")


@dataclass(frozen=True)
class AppAgreement:
    """A local federation's settings, and the plan and documents that follow from them."""

    settings: AppFederation
    published: PublishedAgreement


def agree_with_app(
    arrays: Mapping[str, NDArray[Any]], contributors: int, config: Mapping[str, Any]
) -> AppAgreement:
    """Return the agreement on a model; deterministic.

    Parameters
    ----------
    arrays
        The initial model's float tensors, in order.
    config
        Tables of settings (``aggregator``, ``scoring``, ``cohort``, ``stake``, ``rewards``,
        ``chain``, ``numbers``), ``name``, ``seed`` and ``rounds``; all have defaults.

    Raises
    ------
    ConfigError
        Naming what was found and what was expected; also if a rule or a score from outside the
        package fails on made-up updates.
    """
    for name in _OWN_ARGUMENTS:
        if name in config:
            raise ConfigError(f"config: {name} is no setting to give; expected none")
    raw = {**config, "contributors": contributors, "initial_model_root": bytes(32).hex()}
    settings = app_federation(raw)
    model = agreed_model(arrays, settings.numbers)
    root = parameter_root(model.vector, model.manifest).hex()
    settings = settings.model_copy(update={"initial_model_root": root})
    scoring = agreed_scoring(settings.scoring, None)
    published = agree_on(settings, model, scoring)
    try_outside_code(published.plan.rule, published.scoring)
    return AppAgreement(settings, published)


class LocalFederation:
    """A federation in a folder, which is locked until the federation is closed.

    Parameters
    ----------
    root
        The folder: new, empty, or with an unfinished run of the same agreement.
    fresh
        Delete an earlier run in the folder first.

    Raises
    ------
    ConfigError
        If the folder holds something else, another agreement, or a finished run.
    LedgerError, StoreError
        If the chain or the disk fails.
    """

    def __init__(self, root: Path, agreement: AppAgreement, *, fresh: bool = False) -> None:
        self._folder = RunFolder(root)
        self._settings = agreement.settings
        self._stack = ExitStack()
        try:
            self._stack.enter_context(held_folder(self._folder, self._settings, fresh=fresh))
            if self._folder.is_complete:
                raise ConfigError(
                    f"folder {root}: holds a finished run; expected another folder, or fresh=True, "
                    "which deletes it"
                )
            # A stack of its own: chain and store are closed before the checksums are written, the
            # lock is released after that.
            self._resources = self._stack.enter_context(ExitStack())
            self._store, self._chain = self._open(agreement.published)
            self.service, self._records = self._start(agreement.published)
        except BaseException:
            self._stack.close()
            raise
        self._clock = time.monotonic()
        self._concluded = False

    def _open(self, published: PublishedAgreement) -> tuple[DiskStore, SimulatedChain]:
        store = DiskStore(self._folder.blobs)
        store.discard_leftovers()  # safe: the folder is locked
        self._resources.callback(store.close)
        root = publish(store, published)
        chain = self._resources.enter_context(run_chain(self._settings, self._folder, root))
        served = Dispatcher(chain.node, dev=False)
        self._resources.callback(served.close)
        server = self._resources.enter_context(serve_in_thread(served))
        write_federation(self._folder, chain, complete=False, rpc=server.url)
        return store, chain

    def _start(self, published: PublishedAgreement) -> tuple[RoundService, RunRecords]:
        chain, store, root = self._chain, self._store, self._folder.root
        journal, attempts = FileJournal(root / "rounds"), FileJournal(root / "attempts")
        scorer = scorer_from(published.scoring, store)
        feed = RoundFeed()
        service = RoundService(chain.ledger, store, journal, scorer, published.plan, feed)
        service.catch_up()
        senders: dict[str, int] = {a: client for client, a in enumerate(chain.identities.addresses)}
        trainers = [Trainer(f"contributor {n}", HONEST, None) for n in senders.values()]
        recorder = RoundRecorder(
            published.plan.rule, trainers, chain, store, journal, senders, lambda _: None
        )
        return service, RunRecords(self._folder, chain, store, attempts, recorder, feed)

    @property
    def folder(self) -> Path:
        """The federation's folder."""
        return self._folder.root

    @property
    def extensions(self) -> tuple[str, ...]:
        """The rule and the score from outside the package, which a verifier needs too."""
        return self._settings.extensions

    @property
    def completed_rounds(self) -> int:
        """Number of rounds that the ledger has decided."""
        return self.service.completed_rounds

    @property
    def sealed_rounds(self) -> int:
        """Number of rounds with a result."""
        return sum(record.status != "void" for record in self._records.rounds)

    def round_over(self, round_id: RoundId) -> None:
        """Write the record of a round that was just closed."""
        now = time.monotonic()
        self._records.append(round_id, now - self._clock)
        self._clock = now

    def conclude(self) -> None:
        """Finalise and pay all rounds, complete the folder and release its lock.

        Afterwards ``fedproof verify`` accepts the folder, and no round can be added to it.
        Idempotent.
        """
        if self._concluded:
            return
        self._concluded = True
        with self._stack:
            self._records.conclude()
            self._resources.close()
            self._folder.write_checksums()

    def close(self) -> None:
        """Release the folder unfinished, so that a later call can continue it. Idempotent."""
        self._stack.close()
