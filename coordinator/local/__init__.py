"""What both daemons need of one machine: a local socket, supervised children, logs, a lock.

Imports nothing of the project but ``coordinator.protocol``; ``clients`` uses it as well. Linux
only: peer credentials, parent-death signals and process descriptors are the kernel's.
"""
