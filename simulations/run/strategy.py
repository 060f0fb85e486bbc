"""``fedproof.FedproofStrategy``: what a Flower app of one's own uses instead of ``FedAvg``.

:meth:`FedproofStrategy.local` makes a whole federation in a folder, for simulations;
:meth:`FedproofStrategy.from_file` coordinates a founded one. What a round
is stands in :mod:`coordinator.flower.strategy`; what the folder holds in
:mod:`simulations.run.local_federation`.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

# isort: split
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result

from coordinator.commands.output import verify_command
from coordinator.daemon.app_service import AppService, LockedDriver
from coordinator.flower.records import ModelLayout, buffer_array, model_arrays
from coordinator.flower.strategy import EvaluateFn, ServiceStrategy
from coordinator.protocol.errors import AggregationError, PhaseError
from coordinator.service.round_service import RoundService
from simulations.run.local_federation import LocalFederation, agree_with_app


class FedproofStrategy(ServiceStrategy):
    """Federated training whose every round is signed, committed and paid.

    Made from a round service, by :meth:`local`, or by :meth:`from_file`; the parameters are those
    of ``ServiceStrategy`` (``docs/api.md``). It logs to ``flwr``, as Flower's own strategies do.
    """

    log = logging.getLogger("flwr")
    _federation: LocalFederation | None = None
    _founded: AppService | None = None

    @classmethod
    def local(
        cls,
        initial_arrays: ArrayRecord,
        *,
        contributors: int,
        folder: str | Path,
        config: Mapping[str, Any] | None = None,
        fresh: bool = False,
        **options: Any,
    ) -> Self:
        """Return a strategy with a federation of its own: chain, contract, keys, bonds and store.

        The ClientApp takes part with ``VerifiableUpdates(local_participant(folder))``. When
        :meth:`start` is over, or :meth:`finish` was called, ``fedproof verify`` accepts the folder.

        Parameters
        ----------
        initial_arrays
            The model that is agreed on: floating-point tensors are averaged, integer tensors
            travel beside them and stay as they are.
        contributors
            How many take part; a node's ``partition-id`` says which of them it is.
        folder
            New, empty, or with an unfinished run of the same federation, which goes on.
        config
            Settings of the federation as in an experiment file: ``aggregator``, ``scoring``,
            ``cohort``, ``stake``, ``rewards``, ``chain``, ``numbers``, ``name``, ``seed``.
        fresh
            Delete an earlier run in the folder first.
        options
            Of the strategy itself.

        Raises
        ------
        ConfigError
            If a setting or an array is not as expected, or the folder holds something else.
        LedgerError, StoreError
            If chain or disk refuse.
        """
        layout = ModelLayout.of(initial_arrays)
        agreement = agree_with_app(layout.floats, contributors, config or {})
        federation = LocalFederation(Path(folder), agreement, fresh=fresh)
        try:
            completed = federation.completed_rounds
            strategy = cls(federation.service, completed_rounds=completed, **options)
        except BaseException:
            federation.close()
            raise
        strategy._federation, strategy._layout = federation, layout
        return strategy

    @classmethod
    def from_file(cls, config: str | Path, **options: Any) -> Self:
        """Return the strategy of a founded federation's coordinator.

        The ServerApp that uses it is the coordinator while it runs: it serves chain and store at
        the port of the settings, answers disputes, and has the federation's key. ``fedproof
        coordinator`` cannot run at the same time; before and afterwards it can, on the same
        folder. The SuperLink is the app's own. :meth:`start` closes a round before its
        deadline, however long its ``timeout``; rounds are final when their window has passed.

        Parameters
        ----------
        config
            ``coordinator.toml``, as ``fedproof federation init`` wrote it.
        options
            Of the strategy itself.

        Raises
        ------
        ConfigError, KeyFileError
            If a file, the key or the password is not as expected, or the port is taken.
        LedgerError, StoreError
            If the chain refuses or is away; if another process has the folder.
        """
        service = AppService(Path(config))
        try:
            strategy = cls(service.driver, completed_rounds=service.completed_rounds, **options)
        except BaseException:
            service.close()
            raise
        strategy._founded = service
        return strategy

    def initial_arrays(self) -> ArrayRecord:
        """Return the tensors of the model agreed on, for :meth:`start`.

        The integer buffers among them are those of a founded federation that learns a module.

        Raises
        ------
        PhaseError
            If the service cannot tell.
        """
        if not isinstance(self.service, RoundService | LockedDriver):
            raise PhaseError(f"initial_arrays: {type(self.service).__name__} does not know them")
        arrays = self.service.initial_arrays()
        named = {name: Array(values) for name, values in arrays.items()}
        if self._founded is not None and (module := self._founded.plan.agreement.model) is not None:
            named |= {buffer.name: buffer_array(buffer) for buffer in module.buffers}
        return ArrayRecord(named)

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: EvaluateFn | None = None,
    ) -> Result:
        """Run the rounds that the ledger does not hold yet, up to ``num_rounds``, and finish.

        Raises
        ------
        ConfigError
            If ``initial_arrays`` is not the agreed model; nothing was opened on chain then.
        AggregationError
            If no round was sealed: then there is no trained model to return.
        """
        if self._founded is not None:
            timeout = min(timeout, self._founded.longest_wait_s)
        try:
            result = super().start(
                grid,
                initial_arrays,
                num_rounds,
                timeout,
                train_config,
                evaluate_config,
                evaluate_fn,
            )
            if isinstance(self.service, RoundService | LockedDriver):
                manifest, _ = self.service.next_model()
                vector = self.service.model()
                result.arrays = model_arrays(vector, manifest, self._require_layout())
            self.finish()
        finally:
            for opened in (self._federation, self._founded):
                if opened is not None:
                    opened.close()  # an interrupted run can be gone on with
        return result

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Take the replies, close the round, and write its record."""
        aggregated = super().aggregate_train(server_round, replies)
        if self._federation is not None:
            self._federation.round_over(self._require_outcome().round_id)
        return aggregated

    def finish(self) -> None:
        """Finalise and pay all rounds and complete the folder; :meth:`start` does it by itself.

        For strategies with a ``start`` of their own. Nothing can be added to the folder afterwards.

        Raises
        ------
        AggregationError
            If no round was sealed; the folder is complete all the same.
        """
        sealed = self.sealed_rounds
        if (made := self._federation) is not None:
            sealed = made.sealed_rounds
            made.conclude()
            self.log.info("Verify this run with: %s", verify_command(made.folder, made.extensions))
        if (founded := self._founded) is not None:
            founded.close()
            plan = founded.plan
            command = verify_command(plan.folder, plan.settings.extensions)
            self.log.info("Verify the federation with: %s", command)
        if not sealed and not (self._federation is None and self.completed_rounds):
            last = f": round {self.outcome.round_id}: {self.outcome.reason}" if self.outcome else ""
            raise AggregationError(f"no round was sealed, so no model was trained{last}")
