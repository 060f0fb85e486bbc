"""A participant's own limits on what its data is used for, checked before anything is trained."""

from coordinator.protocol.errors import ConfigError
from coordinator.protocol.rules.chosen import quorum
from coordinator.settings.agreement import FederationAgreement
from coordinator.settings.participant import DataUse


def check_agreement(limits: DataUse, agreement: FederationAgreement) -> None:
    """Check what the federation agreed on against the participant's own limits.

    Raises
    ------
    ConfigError
        Naming the limit and what the federation has instead.
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
