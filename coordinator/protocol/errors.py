"""The exception tree, split by who is at fault.

Every error class has the exit code that the command line ends with, so that the mapping from
error to exit status is in one place (``docs/exit-codes.md``). Messages name the object, the
place, the value found and the value expected.
"""

from typing import ClassVar


class FedproofError(Exception):
    """Base of every error this project raises on purpose."""

    exit_code: ClassVar[int] = 70


class ConfigError(FedproofError):
    """Our own settings are wrong: a config file, an option, a data folder."""

    exit_code = 2


class UnknownRuleError(ConfigError):
    """A committed rule or score is unknown to this process, which cannot re-execute it.

    That does not mean that the rule is wrong (ADR 132).
    """


class OutsideCodeError(ConfigError):
    """Code from outside the package raised, or returned what none of its kind may return."""


class PhaseError(FedproofError):
    """Our own code called a transition that the round's phase does not allow."""

    exit_code = 70


class ContributorError(FedproofError):
    """A contributor's input broke a rule: one update is refused, the round goes on.

    Attributes
    ----------
    code
        Short kebab-case name of the rule, e.g. ``"out-of-range"``; stable, kept in the round's
        record.
    contributor
        The contributor's address, or ``None`` before the sender is proven.
    round_id
        The round that the input was for, or ``None``.
    found, expected
        Printable values for the record.
    """

    exit_code = 3

    def __init__(
        self,
        message: str,
        *,
        code: str,
        contributor: str | None = None,
        round_id: int | None = None,
        found: str = "",
        expected: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.contributor = contributor
        self.round_id = round_id
        self.found = found
        self.expected = expected


class MalformedUpdateError(ContributorError):
    """An update has the wrong size, shape, dtype, range, manifest or round."""


class SignatureError(ContributorError):
    """A signature is malformed, high-s, or by somebody else."""


class AggregationError(FedproofError):
    """The rule cannot be applied: too few updates for the fault bound, or integer overflow."""

    exit_code = 4


class VerificationError(FedproofError):
    """A digest, a proof or a replayed result does not match what was committed."""

    exit_code = 1


class LedgerError(FedproofError):
    """The chain refused, or could not be reached."""

    exit_code = 5


class TransactionRevertedError(LedgerError):
    """A contract call reverted; ``reason`` is the contract's reason."""

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class ChainUnavailableError(LedgerError):
    """The node did not answer, or its store could not be opened."""


class StoreError(FedproofError):
    """The artifact store failed (disk full, permission, I/O error)."""

    exit_code = 6


class BlobMissingError(StoreError):
    """A blob that was committed to is not in the store."""

    exit_code = 1


class BlobCorruptError(StoreError):
    """A blob's bytes do not hash to its name."""

    exit_code = 1


class KeyFileError(FedproofError):
    """A key file is unreadable, malformed, too open, or the password is wrong."""

    exit_code = 7
