"""JSON documents of the artifact store and the digests that name them.

Every document is canonical JSON. Its kind decides the digest that names it:

================  ===========================================================================
``contributors``  root of the contributors tree over its leaves
``commitments``   root of the commitments tree (rounds of sealed federations)
``scores``        root of the scores tree
``rewards``       root of the rewards tree
``rule``          ``rule_hash`` of its fields
``json``          SHA-256 of its canonical bytes (manifest, scoring, configuration)
================  ===========================================================================

The name of a document does not mean that it is right: leaves out of order or repeated have a name
too, so that an auditor can read a fraud (ADR 82). Amounts in wei are decimal strings, since many
JSON readers keep only 53 bits of a number.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from coordinator.protocol.canonical import canonical_json, parse_json
from coordinator.protocol.commitments.digests import (
    commitment_leaf_hash,
    commitments_tree,
    contributor_leaf_hash,
    metrics_hash,
    reward_leaf_hash,
    rule_hash,
    score_leaf_hash,
    signature_hash,
)
from coordinator.protocol.commitments.standard_tree import StandardTree
from coordinator.protocol.errors import BlobCorruptError, FedproofError, VerificationError
from coordinator.protocol.types import (
    Address,
    CommitmentLeaf,
    ContributorEntry,
    ContributorLeaf,
    DefinedRule,
    JsonObject,
    RewardLeaf,
    RoundId,
    Rule,
    ScoreLeaf,
    Wei,
    address_bytes,
)


def contributors_document(round_id: RoundId, entries: Sequence[ContributorEntry]) -> JsonObject:
    """Return the document of a round's contributors, in order of index."""
    rows = [_contributor_row(entry) for entry in entries]
    return {"round": round_id, "contributors": rows}


def _contributor_row(entry: ContributorEntry) -> JsonObject:
    row = {
        "index": entry.leaf.index,
        "contributor": entry.leaf.contributor,
        "update": entry.leaf.update_root.hex(),
        "examples": entry.leaf.examples,
        "weight": entry.leaf.weight,
        "stake_wei": str(entry.leaf.stake_wei),
        "signature": entry.signature.hex(),
        "metrics": entry.metrics,
    }
    return row if entry.salt is None else {**row, "salt": entry.salt.hex()}


def contributor_entries(document: JsonObject) -> list[ContributorEntry]:
    """Return the contributors in a document; the inverse of :func:`contributors_document`."""
    round_id = RoundId(document["round"])
    entries = []
    for row in document["contributors"]:
        signature = bytes.fromhex(row["signature"])
        metrics = dict(row["metrics"])
        leaf = ContributorLeaf(
            round_id=round_id,
            index=row["index"],
            contributor=Address(row["contributor"]),
            update_root=bytes.fromhex(row["update"]),
            examples=row["examples"],
            weight=row["weight"],
            stake_wei=Wei(int(row["stake_wei"])),
            signature_hash=signature_hash(metrics_hash(metrics), signature),
        )
        salt = bytes.fromhex(row["salt"]) if "salt" in row else None
        entries.append(ContributorEntry(leaf, signature, metrics, salt))
    return entries


def commitments_document(round_id: RoundId, commitments: Mapping[Address, bytes]) -> JsonObject:
    """Return the document of a sealed round's commitments, in order of address."""
    rows = [
        [contributor, commitments[contributor].hex()]
        for contributor in sorted(commitments, key=address_bytes)
    ]
    return {"round": round_id, "commitments": rows}


def commitment_leaves(document: JsonObject) -> list[CommitmentLeaf]:
    """Return the leaves in a commitments document."""
    round_id = RoundId(document["round"])
    return [
        CommitmentLeaf(round_id, Address(contributor), bytes.fromhex(commitment))
        for contributor, commitment in document["commitments"]
    ]


def read_commitments(
    document: JsonObject, round_id: RoundId, root: bytes
) -> Mapping[Address, bytes]:
    """Return the commitments in a document, by contributor, 32 bytes each.

    Parameters
    ----------
    root
        The commitments' root on chain, 32 bytes; zero if there is none.

    Raises
    ------
    VerificationError
        If the document is another round's or another root's, or its contributors are not in order
        of address, once each.
    """
    try:
        leaves = commitment_leaves(document)
        computed = commitments_tree(leaves).root
    except (KeyError, TypeError, ValueError) as error:
        raise VerificationError(f"commitments of round {round_id}: malformed: {error}") from error
    if leaves[0].round_id != round_id:
        raise VerificationError(
            f"commitments: of round {leaves[0].round_id}, expected round {round_id}"
        )
    if not any(root) or computed != root:
        raise VerificationError(
            f"commitments of round {round_id}: root {computed.hex()}, the chain holds {root.hex()}"
        )
    return {leaf.contributor: leaf.commitment for leaf in leaves}


def scores_document(leaves: Sequence[ScoreLeaf]) -> JsonObject:
    """Return the document of a round's scores, in order of address."""
    return {
        "round": leaves[0].round_id,
        "scores": [[leaf.contributor, leaf.score] for leaf in leaves],
    }


def score_leaves(document: JsonObject) -> list[ScoreLeaf]:
    """Return the leaves in a scores document."""
    round_id = RoundId(document["round"])
    return [
        ScoreLeaf(round_id, Address(contributor), score)
        for contributor, score in document["scores"]
    ]


def rewards_document(leaves: Sequence[RewardLeaf]) -> JsonObject:
    """Return the document of cumulative rewards, in order of joining."""
    return {"rewards": [[leaf.contributor, str(leaf.cumulative_wei)] for leaf in leaves]}


def reward_leaves(document: JsonObject) -> list[RewardLeaf]:
    """Return the leaves in a rewards document."""
    return [RewardLeaf(Address(member), Wei(int(wei))) for member, wei in document["rewards"]]


_DIGEST_FIELDS = ("manifest_hash", "scoring_hash")


def rule_document(rule: Rule) -> JsonObject:
    """Return the document of an aggregation rule.

    A kind that is the digest of a definition is written in hexadecimal, with the definition.
    """
    fields = dataclasses.asdict(rule)
    document = {k: v.hex() if k in _DIGEST_FIELDS else v for k, v in fields.items()}
    if isinstance(rule, DefinedRule):
        document["kind"] = f"{rule.kind:064x}"
        document["definition"] = parse_json(rule.definition.encode(), "rule definition")
    return document


def rule_from(document: JsonObject) -> Rule:
    """Return the rule in a document.

    Raises
    ------
    VerificationError
        If the kind is not the digest of the document's definition.
    """
    fields: dict[str, Any] = {
        k: bytes.fromhex(v) if k in _DIGEST_FIELDS else v for k, v in document.items()
    }
    if "definition" not in fields:
        return Rule(**fields)
    definition = canonical_json(fields["definition"])
    digest = hashlib.sha256(definition).hexdigest()
    if fields["kind"] != digest:
        raise VerificationError(
            f"rule: kind is {fields['kind']!r}, its definition's SHA-256 is {digest}"
        )
    return DefinedRule(**{**fields, "kind": int(digest, 16), "definition": definition.decode()})


def _sha256(document: JsonObject) -> bytes:
    return hashlib.sha256(canonical_json(document)).digest()


_NAMES: Mapping[str, Callable[[JsonObject], bytes]] = {
    "contributors": lambda d: (
        StandardTree([contributor_leaf_hash(entry.leaf) for entry in contributor_entries(d)]).root
    ),
    "commitments": lambda d: (
        StandardTree([commitment_leaf_hash(leaf) for leaf in commitment_leaves(d)]).root
    ),
    "scores": lambda d: StandardTree([score_leaf_hash(leaf) for leaf in score_leaves(d)]).root,
    "rewards": lambda d: StandardTree([reward_leaf_hash(leaf) for leaf in reward_leaves(d)]).root,
    "rule": lambda d: rule_hash(rule_from(d)),
    "json": _sha256,
}


def name_of(kind: str, document: JsonObject) -> bytes:
    """Return the digest that names a document of this kind."""
    # Of the leaves as they are, even out of order or repeated: a fraud must be readable (ADR 82).
    return _NAMES[kind](document)


def encode(document: JsonObject) -> bytes:
    """Return a document's canonical bytes, the only valid ones."""
    return canonical_json(document)


def decode(kind: str, name: bytes, data: bytes, place: str) -> JsonObject:
    """Parse a document, and check that its bytes are canonical and hash to its name.

    Raises
    ------
    BlobCorruptError
        If they are not; names ``place``.
    """
    try:
        document: Any = parse_json(data, place)
        if not isinstance(document, dict) or canonical_json(document) != data:
            raise BlobCorruptError(f"{place}: not canonical JSON; a byte was changed")
        computed = name_of(kind, document)
    except (ValueError, KeyError, TypeError, AttributeError, FedproofError) as error:
        if isinstance(error, BlobCorruptError):
            raise
        raise BlobCorruptError(f"{place}: not a {kind} document: {error}") from error
    if computed != name:
        raise BlobCorruptError(
            f"{place}: content hashes to {computed.hex()}, expected {name.hex()}"
        )
    return document
