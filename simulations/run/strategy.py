"""``fedproof.FedproofStrategy``: the strategy of a user's own Flower app, instead of ``FedAvg``.

:meth:`FedproofStrategy.local` creates a federation in a folder, for simulations;
:meth:`FedproofStrategy.from_file` coordinates a founded one. Rounds are run by
:mod:`coordinator.flower.strategy`, the folder is written by
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
    """A Flower strategy whose rounds are signed, committed on chain and paid.

    Created from a round service, by :meth:`local`, or by :meth:`from_file`; the parameters are
    those of ``ServiceStrategy`` (``docs/api.md``). It logs to ``flwr``, as Flower's own strategies
    do.
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

        The ClientApp takes part with ``VerifiableUpdates(local_participant(folder))``. After
        :meth:`start` or :meth:`finish`, ``fedproof verify`` accepts the folder.

        Parameters
        ----------
        initial_arrays
            The agreed model: floating-point tensors are averaged, integer tensors are sent with
            them and stay as they are.
        contributors
            Number of contributors; a node's ``partition-id`` is its contributor's.
        folder
            New, empty, or with an unfinished run of the same federation, which is resumed.
        config
            Settings of the federation as in an experiment file: ``aggregator``, ``scoring``,
            ``cohort``, ``stake``, ``rewards``, ``chain``, ``numbers``, ``name``, ``seed``.
        fresh
            Delete an earlier run in the folder first.
        options
            Further arguments of the strategy.

        Raises
        ------
        ConfigError
            If a setting or an array is not as expected, or the folder holds something else.
        LedgerError, StoreError
            If the chain or the disk fails.
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

        While the ServerApp runs, it is the coordinator (ADR 156): it serves chain and store at the
        port of the settings, answers disputes, and holds the federation's key. ``fedproof
        coordinator`` can run on the same folder before and afterwards, but not at the same time.
        The SuperLink is the app's own. :meth:`start` closes a round before its deadline, even with
        a longer ``timeout``; rounds are final when their challenge window has passed.

        Parameters
        ----------
        config
            ``coordinator.toml``, as ``fedproof federation init`` wrote it.
        options
            Further arguments of the strategy.

        Raises
        ------
        ConfigError, KeyFileError
            If a file, the key or the password is not as expected, or the port is in use.
        LedgerError, StoreError
            If the chain refuses or does not answer; if another process has the folder locked.
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
            If the service does not have them.
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
        """Run the rounds that are not on the ledger yet, up to ``num_rounds``, and finish.

        Raises
        ------
        ConfigError
            If ``initial_arrays`` is not the agreed model; no round is opened then.
        AggregationError
            If no round was sealed, so that there is no trained model to return.
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
                    opened.close()  # a later call can resume an interrupted run
        return result

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregate the replies, close the round, and write its record."""
        aggregated = super().aggregate_train(server_round, replies)
        if self._federation is not None:
            self._federation.round_over(self._require_outcome().round_id)
        return aggregated

    def finish(self) -> None:
        """Finalise and pay all rounds and complete the folder; :meth:`start` calls it at its end.

        For strategies that override ``start``. No round can be added to the folder afterwards.

        Raises
        ------
        AggregationError
            If no round was sealed; the folder is complete nevertheless.
        """
        sealed = self.sealed_rounds
        if (local := self._federation) is not None:
            sealed = local.sealed_rounds
            local.conclude()
            command = verify_command(local.folder, local.extensions)
            self.log.info("Verify this run with: %s", command)
        if (founded := self._founded) is not None:
            founded.close()
            plan = founded.plan
            command = verify_command(plan.folder, plan.settings.extensions)
            self.log.info("Verify the federation with: %s", command)
        if not sealed and not (self._federation is None and self.completed_rounds):
            last = f": round {self.outcome.round_id}: {self.outcome.reason}" if self.outcome else ""
            raise AggregationError(f"no round was sealed, so no model was trained{last}")
