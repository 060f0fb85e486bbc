"""A contributor's side of sealed rounds: commit first, reveal once all commitments are on chain.

An update is revealed only when nobody can commit to a copy of it any more: the chain has the root
of the commitments, the coordinator's document hashes to that root, and the contributor's own
commitment is in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# isort: split
from flwr.app import ConfigRecord, RecordDict

from clients.mod.chain_view import CachedChainView
from clients.mod.instruction import (
    InstructionRefusedError,
    check_domain,
    digest_field,
    integer_field,
    require_signature,
)
from clients.mod.pending import PendingUpdate
from clients.mod.signer import UpdateSigner
from coordinator.protocol import wire
from coordinator.protocol.canonical import parse_json
from coordinator.protocol.commitments.documents import read_commitments
from coordinator.protocol.errors import ChainUnavailableError, VerificationError
from coordinator.protocol.keccak import keccak256
from coordinator.protocol.round.chain_round import ChainRound, RoundStatus
from coordinator.protocol.signatures.eip712 import sealed_commitment
from coordinator.protocol.types import Address, Commitment, RoundId, Signed, SigningDomain

_SALT_TAG = b"fedproof salt"


def salt_of(signature: bytes) -> bytes:
    """Return the salt for an update with this signature, 32 bytes.

    The signature is deterministic and secret until the update is revealed. So a client that lost
    everything but its key and its data gets the same salt, nobody else can compute it, and a
    hardware key can make it (ADR 101).
    """
    return keccak256(_SALT_TAG + signature)


def commit_to(
    content: RecordDict,
    *,
    base_model: bytes,
    round_id: RoundId,
    domain: SigningDomain,
    signer: UpdateSigner,
) -> PendingUpdate:
    """Commit to a signed reply; ``content`` is the content that :func:`revealed` will return."""
    statement = content.config_records[wire.STATEMENT_RECORD]
    update = bytes.fromhex(str(statement["update"]))
    salt = salt_of(bytes.fromhex(str(statement["signature"])))
    digest = sealed_commitment(domain, round_id, signer.address, salt, update)
    commitment = signer.sign_statement(domain, Commitment(round_id, digest))
    return PendingUpdate(commitment, base_model, salt, content)


def commitment_reply(signed: Signed[Commitment]) -> RecordDict:
    """Return the reply to a train message of a sealed round."""
    record = ConfigRecord(
        {
            "version": wire.WIRE_VERSION,
            "round": int(signed.statement.round_id),
            "contributor": signed.signer,
            "commitment": signed.statement.commitment.hex(),
            "signature": signed.signature.hex(),
        }
    )
    return RecordDict({wire.COMMITMENT: record})


def revealed(pending: PendingUpdate) -> RecordDict:
    """Return the reply to a query for a reveal: the signed update and its salt."""
    salt = ConfigRecord({"version": wire.WIRE_VERSION, "salt": pending.salt.hex()})
    return RecordDict({**pending.content, wire.REVEAL: salt})


@dataclass(frozen=True)
class RevealQuery:
    """A well-formed query for a reveal; ``commitments`` is the document's text.

    ``signature`` is the coordinator's over the other fields, unchecked.
    """

    round_id: RoundId
    chain_id: int
    contract: str
    commitments: str
    base_model: bytes
    rule_hash: bytes
    deadline: int
    signature: bytes


def is_reveal_query(content: RecordDict) -> bool:
    """Return whether a query asks for a reveal."""
    return wire.REVEAL in content.config_records


def read_reveal_query(content: RecordDict) -> RevealQuery:
    """Parse a query for a reveal.

    Raises
    ------
    InstructionRefusedError
        ``unsupported-version``, ``unsigned-instruction`` or ``malformed-instruction``.
    """
    fields: Mapping[str, Any] = content.config_records[wire.REVEAL]
    if fields.get(wire.VERSION) != wire.WIRE_VERSION:
        raise InstructionRefusedError(
            "unsupported-version",
            f"found {fields.get(wire.VERSION)!r}, expected {wire.WIRE_VERSION}",
        )
    require_signature(fields)
    try:
        return RevealQuery(
            round_id=RoundId(integer_field(fields, wire.ROUND)),
            chain_id=integer_field(fields, wire.CHAIN_ID),
            contract=fields[wire.CONTRACT] + "",
            commitments=fields[wire.COMMITMENTS] + "",
            base_model=digest_field(fields, wire.BASE_MODEL),
            rule_hash=digest_field(fields, wire.RULE_HASH),
            deadline=integer_field(fields, wire.DEADLINE),
            signature=bytes.fromhex(fields[wire.SIGNATURE]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InstructionRefusedError(
            "malformed-instruction", f"query for a reveal: {type(error).__name__}: {error}"
        ) from error


class CommitmentsVerifier:
    """Compares a coordinator's commitments document with the chain; caches the last one.

    A process of many contributors gets the same document for each of them.
    """

    def __init__(self, view: CachedChainView) -> None:
        self._view = view
        self._last: tuple[str, bytes, Mapping[Address, bytes]] | None = None

    def committed(self, query: RevealQuery, contributor: Address) -> bytes:
        """Return a contributor's commitment according to the chain, 32 bytes.

        Raises
        ------
        InstructionRefusedError
            ``wrong-domain``, ``chain-unavailable``, ``round-not-open``, ``wrong-commitments`` or
            ``not-committed``.
        """
        check_domain(query.chain_id, query.contract, self._view.domain)
        facts = self._facts(query.round_id)
        if facts.status is not RoundStatus.OPEN:
            raise InstructionRefusedError(
                "round-not-open",
                f"round {query.round_id} is {facts.status.word} on chain, expected open",
            )
        commitments = self._read(query, facts.commitments_root)
        if contributor not in commitments:
            raise InstructionRefusedError(
                "not-committed",
                f"round {query.round_id}: the commitments on chain hold none of {contributor}",
            )
        return commitments[contributor]

    def _facts(self, round_id: RoundId) -> ChainRound:
        try:
            facts = self._view.round(round_id)
            return facts if any(facts.commitments_root) else self._view.refreshed(round_id)
        except ChainUnavailableError as error:
            raise InstructionRefusedError(wire.CHAIN_UNAVAILABLE, str(error)) from error

    def _read(self, query: RevealQuery, root: bytes) -> Mapping[Address, bytes]:
        if self._last is not None and self._last[:2] == (query.commitments, root):
            return self._last[2]
        try:
            document = parse_json(query.commitments.encode(), "commitments")
            commitments = read_commitments(document, query.round_id, root)
        except VerificationError as error:
            raise InstructionRefusedError("wrong-commitments", str(error)) from error
        self._last = (query.commitments, root, commitments)
        return commitments
