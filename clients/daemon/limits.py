"""Checks a participant's own limits on the use of its data, before any training."""

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.rules.chosen import quorum
from coordinator.settings.agreement import FederationAgreement
from coordinator.settings.participant import DataUse


def check_agreement(limits: DataUse, agreement: FederationAgreement) -> None:
    """Check the federation's agreement against the participant's own limits.

    Raises
    ------
    ConfigError
        If a limit is not met; names it and the federation's value.
    """
    fewest = quorum(agreement.core_rule)
    if fewest < limits.min_contributors:
        raise ConfigError(
            f"limits.min_contributors = {limits.min_contributors}: a round of {agreement.name} "
            f"needs {fewest} contributors only, not taking part"
        )
    if limits.sealed_only and not agreement.sealed:
        raise ConfigError(
            f"limits.sealed_only: {agreement.name} is not sealed, updates could be copied; not "
            "taking part"
        )
