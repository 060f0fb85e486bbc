"""``fedproof.FedproofStrategy``: what a Flower app of one's own uses instead of ``FedAvg``.

:meth:`FedproofStrategy.local` makes a whole federation in a folder, for simulations. What a round
is stands in :mod:`coordinator.flower.strategy`; what the folder holds in
:mod:`simulations.run.local_federation`.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

# isort: split
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result

from coordinator.flower.records import ModelLayout, model_arrays
from coordinator.flower.strategy import EvaluateFn, ServiceStrategy
from coordinator.protocol.errors import AggregationError
from simulations.run.local_federation import LocalFederation, agree_with_app


class FedproofStrategy(ServiceStrategy):
    """Federated training whose every round is signed, committed and paid.

    Made from a round service, or by :meth:`local`; the parameters are those of ``ServiceStrategy``
    (``docs/api.md``). It tells what it does where Flower's own strategies do, in the logger
    ``flwr``.
    """

    log = logging.getLogger("flwr")
    _federation: LocalFederation | None = None

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
            if self._federation is not None:
                manifest, _ = self._federation.service.next_model()
                result.arrays = model_arrays(
                    self._federation.model(), manifest, self._require_layout()
                )
            self.finish()
        finally:
            if self._federation is not None:
                self._federation.close()  # an interrupted run can be gone on with
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
        sealed, folder = self.sealed_rounds, ""
        if self._federation is not None:
            sealed, folder = self._federation.sealed_rounds, str(self._federation.folder)
            self._federation.conclude()
            self.log.info("Verify this run with: fedproof verify %s", folder)
        if not sealed and not (self._federation is None and self.completed_rounds):
            last = f": round {self.outcome.round_id}: {self.outcome.reason}" if self.outcome else ""
            raise AggregationError(f"no round was sealed, so no model was trained{last}")
