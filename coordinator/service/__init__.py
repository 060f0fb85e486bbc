"""Runs rounds: carries out the state machine's effects against ledger and store.

``round_service`` is the service itself, the :class:`~coordinator.ports.RoundDriver` that a
transport talks to; ``collecting``, ``closing`` and ``settling`` are its three parts, ``archive`` is
what ledger and store remember of earlier rounds, ``plan`` what was agreed before the first.
"""
