"""The record of the coordinator after a run: convictions, refused transactions, money."""

import json

from coordinator.ledger.run_figures import coordinator_figures
from coordinator.protocol.errors import BlobMissingError
from coordinator.protocol.types import JsonObject, RoundId
from coordinator.stores.run_folder import FileJournal
from simulations.run.chain import SimulatedChain


def coordinator_record(chain: SimulatedChain, attempts: FileJournal, rounds: int) -> bytes:
    """Return the contents of ``coordinator.json``; amounts in wei, as text.

    ``convictions`` are in order of block; ``refused`` are the transactions that the contract
    refused, of rounds up to ``rounds``.
    """
    document = {
        **coordinator_figures(chain.federation),
        "refused": _refused(attempts, rounds),
    }
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"


def _refused(attempts: FileJournal, rounds: int) -> list[JsonObject]:
    refused = []
    for number in range(1, rounds + 1):
        try:
            refused.append(attempts.get(RoundId(number)))
        except BlobMissingError:
            continue
    return refused
