"""What became of the coordinator: what it was convicted for, what was refused to it, its money."""

import json
from typing import Any

from contracts.binding.events import CoordinatorBonded, Slashed
from coordinator.protocol.errors import BlobMissingError
from coordinator.protocol.types import Address, JsonObject, RoundId
from coordinator.stores.run_folder import FileJournal
from simulations.run.chain import SimulatedChain


def coordinator_record(chain: SimulatedChain, attempts: FileJournal, rounds: int) -> bytes:
    """Return the contents of ``coordinator.json``; amounts in wei, as text.

    ``convictions`` are in order of block; ``refused`` is what the contract did not let pass, of
    rounds up to ``rounds``.
    """
    address = Address(chain.identities.coordinator.address)
    document = {
        "address": address,
        "bond_wei": str(chain.federation.account(address).bond_wei),
        "bonded_wei": str(_bonded(chain)),
        "convictions": _convictions(chain, address),
        "refused": _refused(attempts, rounds),
    }
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"


def _bonded(chain: SimulatedChain) -> int:
    events = chain.federation.events()
    return sum(int(event.amount) for event in events if isinstance(event, CoordinatorBonded))


def _convictions(chain: SimulatedChain, coordinator: Address) -> list[dict[str, Any]]:
    return [
        {
            "round": int(event.round),
            "offence": event.offence.rstrip(b"\0").decode("ascii", "backslashreplace"),
            "prover": event.prover,
            "slashed_wei": str(event.amount),
            "bounty_wei": str(event.bounty),
            "burned_wei": str(event.amount - event.bounty),
            "bond_after_wei": str(event.bond),
            "block": event.place.block_number,
            "transaction": "0x" + event.place.transaction_hash.hex(),
        }
        for event in chain.federation.events()
        if isinstance(event, Slashed) and event.account == coordinator
    ]


def _refused(attempts: FileJournal, rounds: int) -> list[JsonObject]:
    found = []
    for number in range(1, rounds + 1):
        try:
            found.append(attempts.get(RoundId(number)))
        except BlobMissingError:
            continue
    return found
