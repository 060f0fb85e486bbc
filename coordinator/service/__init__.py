"""Runs rounds: carries out the state machine's effects against ledger and store.

``rounds`` is the service itself, the :class:`~coordinator.ports.RoundDriver` that a transport
talks to, on top of ``effects``; ``collecting``, ``closing`` and ``settling`` are its three parts,
``archive`` is what ledger and store remember of earlier rounds, ``plan`` what was agreed before
the first.
"""

from coordinator.service.plan import FederationPlan, publish_plan
from coordinator.service.round_service import RoundService
from coordinator.service.settling import ScoredRound

__all__ = ["FederationPlan", "RoundService", "ScoredRound", "publish_plan"]
