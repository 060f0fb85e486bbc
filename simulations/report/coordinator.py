"""What a run's folder says of its coordinator, for people.

Not handled: working it out from the chain (``simulations.run.convictions``).
"""

from coordinator.protocol.amounts import ether
from coordinator.protocol.types import JsonObject

COORDINATOR = "coordinator.json"


def coordinator_lines(record: JsonObject) -> list[str]:
    """Return ``coordinator.json`` for people: a line for each conviction and each refusal."""
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
