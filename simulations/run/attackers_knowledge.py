"""The data of others that simulated attackers use: published updates, observed commitments."""

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
    """Return the updates that the parent round published, by client.

    ``roots_json`` has the root of each, from the round's instruction; ``artifacts`` is the
    folder of the run's store, ``None`` for no updates.
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
    """Return a copy of a victim's commitment, with the update and salt that reveal it.

    ``content`` is the victim's update, signed by the copier (``signer``). Salts are derived from
    signatures (ADR 101), so the victim's is computed here instead of intercepted.
    """
    message = read_statement(content).statement
    original = RecordDict({wire.STATEMENT_RECORD: statement_record(victim.sign(domain, message))})
    pending = commit_to(
        original, base_model=base_model, round_id=round_id, domain=domain, signer=victim
    )
    copied = signer.sign_statement(domain, pending.commitment.statement)
    return PendingUpdate(copied, base_model, pending.salt, content)
