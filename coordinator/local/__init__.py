"""Tools of one machine for both daemons: local sockets, child processes, logs, locks, key files.

Imports nothing of the project but ``coordinator.protocol``; ``clients`` uses it as well. Linux
only: it uses peer credentials, parent-death signals and process descriptors of the kernel.
"""
