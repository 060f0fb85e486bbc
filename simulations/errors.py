"""Errors that end a simulation although they happen while a contributor is played."""


class ExtensionError(Exception):
    """An attack broke what its hooks promise: the run ends with this message.

    Not one of the project's own errors on purpose: those are answered by the signing mod, as a
    contributor's failure that costs it one round, and the mistake would be seen only there.
    """
