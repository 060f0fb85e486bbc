"""A whole federation on this machine for a Flower app of one's own, in one folder.

Chain, contract, keys, bonds and store are made when it is opened, or found there: whoever opens
the folder again goes on after the last round. Participants in other processes reach the chain
over HTTP on loopback, and find out where from the folder
(:mod:`simulations.run.local_participant`). The keys protect nothing: they follow from the
settings. Not handled: Flower (:mod:`simulations.run.strategy`).
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
    """What a local federation is to be: its settings, and what follows from them."""

    settings: AppFederation
    published: PublishedAgreement


def agree_with_app(
    arrays: Mapping[str, NDArray[Any]], contributors: int, config: Mapping[str, Any]
) -> AppAgreement:
    """Work out the agreement on a model; deterministic.

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
        Naming what was found and what was expected; also where a rule or a score from outside
        the package fails on made-up updates.
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
    """A federation that was opened in a folder, which it holds until it is closed.

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
        If chain or disk refuse.
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
            # closed before the checksums are written, which the lock outlives
            self._open = self._stack.enter_context(ExitStack())
            self._store, self._chain = self._opened(agreement.published)
            self.service, self._records = self._made(agreement.published)
        except BaseException:
            self._stack.close()
            raise
        self._clock = time.monotonic()
        self._concluded = False

    def _opened(self, published: PublishedAgreement) -> tuple[DiskStore, SimulatedChain]:
        store = DiskStore(self._folder.blobs)
        store.discard_leftovers()  # the folder is locked: nobody else writes
        self._open.callback(store.close)
        root = publish(store, published)
        chain = self._open.enter_context(run_chain(self._settings, self._folder, root))
        served = Dispatcher(chain.node, dev=False)
        self._open.callback(served.close)
        server = self._open.enter_context(serve_in_thread(served))
        write_federation(self._folder, chain, complete=False, rpc=server.url)
        return store, chain

    def _made(self, published: PublishedAgreement) -> tuple[RoundService, RunRecords]:
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
        """Where all of it lies."""
        return self._folder.root

    @property
    def extensions(self) -> tuple[str, ...]:
        """The rule and the score from outside the package, which whoever verifies needs."""
        return self._settings.extensions

    @property
    def completed_rounds(self) -> int:
        """How many rounds the ledger has decided."""
        return self.service.completed_rounds

    @property
    def sealed_rounds(self) -> int:
        """How many rounds have a result."""
        return sum(record.status != "void" for record in self._records.rounds)

    def round_over(self, round_id: RoundId) -> None:
        """Write the record of a round that was just closed."""
        now = time.monotonic()
        self._records.append(round_id, now - self._clock)
        self._clock = now

    def conclude(self) -> None:
        """Finalise and pay all rounds, complete the folder and let go of it.

        Afterwards ``fedproof verify`` accepts the folder, and nothing can be added to it. Harmless
        when repeated.
        """
        if self._concluded:
            return
        self._concluded = True
        with self._stack:
            self._records.conclude()
            self._open.close()
            self._folder.write_checksums()

    def close(self) -> None:
        """Let go of the folder as it is: the next to open it goes on. Harmless when repeated."""
        self._stack.close()
