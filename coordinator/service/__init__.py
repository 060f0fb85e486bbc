"""Runs rounds: carries out the state machine's effects against ledger and store.

``round_service`` is the service itself, the :class:`~coordinator.ports.RoundDriver` that a
transport calls; ``collecting``, ``closing`` and ``settling`` are its three parts, ``archive`` reads
earlier rounds from ledger and store, ``plan`` is the agreement before the first round.
"""
