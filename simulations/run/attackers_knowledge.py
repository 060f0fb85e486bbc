"""What simulated attackers learn of others: published updates, and commitments overheard."""

from pathlib import Path

# isort: split
from flwr.app import RecordDict

from clients.mod.pending import PendingUpdate
from clients.mod.reply import statement_record
from clients.mod.sealing import commit_to
from clients.mod.signer import KeySigner, UpdateSigner
from coordinator.flower.records import read_statement
from coordinator.protocol import wire
from coordinator.protocol.canonical import parse_json
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.types import Int32Vector, RoundId, SigningDomain
from coordinator.stores.disk import DiskStore
from simulations.attacks.contributor.hooks import VectorsOnDemand


def published_updates(
    roots_json: str, artifacts: Path | None, manifest: Manifest
) -> VectorsOnDemand:
    """Return the updates that the round below published, by client.

    ``roots_json`` has the root of each, as the round's instruction does; ``artifacts`` is the
    folder of the run's store, without which nothing can be read.
    """
    roots: dict[str, str] = parse_json(roots_json.encode(), "public-updates")

    def read(client: int) -> Int32Vector:
        assert artifacts is not None
        store = DiskStore(artifacts, read_only=True)
        return store.get_vector(bytes.fromhex(roots[str(client)]), manifest)

    clients = () if artifacts is None else tuple(sorted(int(client) for client in roots))
    return VectorsOnDemand(clients, read)


def overheard(
    content: RecordDict,
    *,
    round_id: RoundId,
    base_model: bytes,
    domain: SigningDomain,
    signer: UpdateSigner,
    victim: KeySigner,
) -> PendingUpdate:
    """Return what is overheard of a victim: its commitment, and later its update and salt.

    ``content`` is the victim's update, signed by the eavesdropper (``signer``). Salts follow from
    signatures, so the victim's is worked out here instead of listened for.
    """
    message = read_statement(content).statement
    original = RecordDict({wire.STATEMENT_RECORD: statement_record(victim.sign(domain, message))})
    heard = commit_to(
        original, base_model=base_model, round_id=round_id, domain=domain, signer=victim
    )
    ours = signer.sign_statement(domain, heard.commitment.statement)
    return PendingUpdate(ours, base_model, heard.salt, content)
