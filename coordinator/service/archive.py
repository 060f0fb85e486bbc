"""Reads earlier rounds from ledger, store and journal: models, momentum, rewards.

The service has no other state: after a crash a new one reads the same.
"""

from collections.abc import Mapping, Sequence

from coordinator.ports import ArtifactStore, Ledger, RoundJournal
from coordinator.protocol.commitments.digests import rule_hash
from coordinator.protocol.commitments.documents import (
    contributor_entries,
    read_commitments,
    reward_leaves,
    rule_document,
)
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.errors import BlobMissingError
from coordinator.protocol.round.chain_round import ChainRound, RoundStatus
from coordinator.protocol.round.events import UpdateRefused
from coordinator.protocol.types import (
    Address,
    ContributorEntry,
    Int32Vector,
    JsonObject,
    PreviousRound,
    RoundId,
    RoundInput,
    Wei,
)
from coordinator.service.plan import FederationPlan


def publish_plan(
    store: ArtifactStore,
    plan: FederationPlan,
    initial_model: Int32Vector,
    documents: Sequence[bytes] = (),
) -> bytes:
    """Store the artifacts that a verifier needs before the first round.

    Returns the initial model's root. ``documents`` are those that the rule names by digest: the
    scoring document, and those that it names.
    """
    root = parameter_root(initial_model, plan.manifest)
    store.put_vector(initial_model, plan.manifest, root)
    store.put_document("rule", rule_hash(plan.rule), rule_document(plan.rule))
    for document in (plan.manifest.to_json(), *documents):
        store.put_bytes(document)
    store.sync()
    return root


def decided_rounds(ledger: Ledger) -> int:
    """Return how many rounds a ledger has decided, void ones included."""
    last = ledger.head().last_opened
    is_open = bool(last) and ledger.round(last).status is RoundStatus.OPEN
    return int(last) - is_open


class RoundArchive:
    """Reads earlier rounds; caches the current model."""

    def __init__(
        self, ledger: Ledger, store: ArtifactStore, journal: RoundJournal, plan: FederationPlan
    ) -> None:
        self._ledger, self._store, self._journal = ledger, store, journal
        self._plan = plan
        self._model: tuple[bytes, Int32Vector] | None = None

    def model(self, root: bytes) -> Int32Vector:
        """Return a model, shape ``(d,)`` int32; the last one is cached."""
        if self._model is None or self._model[0] != root:
            self.keep_model(root, self._store.get_vector(root, self._plan.manifest))
            assert self._model is not None
        return self._model[1]

    def keep_model(self, root: bytes, model: Int32Vector) -> None:
        """Cache a model that is already in the store."""
        self._model = (root, model)

    def velocity(self, sealed: RoundId) -> Int32Vector | None:
        """Return the server momentum after a sealed round, ``None`` if the rule has none."""
        if not self._plan.rule.server_momentum_q16 or not sealed:
            return None
        entry = self._journal.get(sealed)
        root = bytes.fromhex(str(entry["velocity"]))
        return self._store.get_vector(root, self._plan.manifest)

    def entries(self, chain_round: ChainRound) -> list[ContributorEntry]:
        """Return a sealed round's contributors, in order of index."""
        document = self._store.get_document("contributors", chain_round.contributors_root)
        return contributor_entries(document)

    def commitments(self, chain_round: ChainRound) -> tuple[JsonObject, Mapping[Address, bytes]]:
        """Return the commitments document whose root is on chain, and the commitments in it.

        Raises
        ------
        VerificationError
            If the document does not match the round.
        """
        root = chain_round.commitments_root
        document = self._store.get_document("commitments", root)
        return document, read_commitments(document, chain_round.round_id, root)

    def refusals(self, round_id: RoundId) -> list[UpdateRefused]:
        """Return the refusals noted for a round so far."""
        notes = self._journal.get(round_id)["refusals"]
        return [UpdateRefused(n["sender"], n["code"], n["message"]) for n in notes]

    def note_void(self, round_id: RoundId, reason: str) -> None:
        """Note that a round of an earlier process is void; its noted refusals are kept."""
        try:
            refusals = self.refusals(round_id)
        except BlobMissingError:  # that process was killed before its first note
            refusals = []
        self.note(round_id, "void", refusals, reason=reason)

    def note(
        self,
        round_id: RoundId,
        status: str,
        refusals: Sequence[UpdateRefused],
        *,
        reason: str = "",
        velocity: bytes = b"",
    ) -> None:
        """Write the coordinator's own notes of a round; durable when it returns."""
        rows = sorted((r.sender, r.code, r.message) for r in refusals)
        self._journal.put(
            round_id,
            {
                "round": round_id,
                "status": status,
                "reason": reason,
                "velocity": velocity.hex(),
                "refusals": [
                    {"sender": sender, "code": code, "message": message}
                    for sender, code, message in rows
                ],
            },
        )

    def result(self, chain_round: ChainRound) -> RoundInput:
        """Read a sealed round from the store."""
        manifest, entries = self._plan.manifest, self.entries(chain_round)
        return RoundInput(
            entries=entries,
            updates=[self._store.get_vector(e.leaf.update_root, manifest) for e in entries],
            base_model=self._store.get_vector(chain_round.model_root, manifest),
            new_model=self._store.get_vector(chain_round.new_model_root, manifest),
            new_model_root=chain_round.new_model_root,
            velocity=self.velocity(chain_round.parent),
        )

    def previous_round(self, parent: RoundId) -> PreviousRound | None:
        """Return the parent round, whose public updates a contributor could have copied."""
        if not parent:
            return None
        below, manifest = self._ledger.round(parent), self._plan.manifest
        updates = [
            (e.leaf.contributor, self._store.get_vector(e.leaf.update_root, manifest))
            for e in self.entries(below)
        ]
        return PreviousRound(updates, self._store.get_vector(below.model_root, manifest))

    def earned_before(self, parent: RoundId) -> Mapping[Address, Wei]:
        """Return the cumulative rewards in wei after ``parent``, by address."""
        if not parent:
            return {}
        root = self._ledger.round(parent).rewards_root
        leaves = reward_leaves(self._store.get_document("rewards", root))
        return {leaf.contributor: leaf.cumulative_wei for leaf in leaves}
