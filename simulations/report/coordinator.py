"""Formats a run's record of its coordinator for people.

Not handled: computing it from the chain (``simulations.run.convictions``).
"""

from coordinator.protocol.amounts import ether
from coordinator.protocol.types import JsonObject

COORDINATOR = "coordinator.json"


def coordinator_lines(record: JsonObject) -> list[str]:
    """Return a line for each conviction and each refused attack in ``coordinator.json``."""
    lines = [
        f"round {row['round']}: convicted ({row['offence']}) by {row['prover']}: "
        f"{ether(int(row['slashed_wei']))} slashed, {ether(int(row['bounty_wei']))} of it to the "
        f"prover, bond {ether(int(row['bond_after_wei']))} left"
        for row in record["convictions"]
    ]
    lines += [
        f"round {row['round']}: the contract refused {row['attack']}: {row['refused']}"
        for row in record["refused"]
    ]
    return lines
