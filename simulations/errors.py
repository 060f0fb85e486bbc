"""Errors in a simulated contributor that must end the run."""


class ExtensionError(Exception):
    """An attack's hook raised, or returned a wrong value; the run ends with this message.

    Not a ``FedproofError`` on purpose: the signing mod answers those with an error reply, as a
    failure of one contributor in one round, and the run would continue.
    """
