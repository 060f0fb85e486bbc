"""The commit phase of a sealed round, and the queries that ask to reveal (``docs/flower.md``)."""

import logging
from collections.abc import Iterable, Sequence

# isort: split
from flwr.app import ConfigRecord, Message, MessageType, RecordDict

from coordinator.flower.records import read_commitment
from coordinator.flower.replies import Recipients, check_reply, refusal
from coordinator.ports import RoundAnnouncement, RoundDriver
from coordinator.protocol import wire
from coordinator.protocol.canonical import canonical_json
from coordinator.protocol.errors import ContributorError
from coordinator.protocol.instructions import REVEAL, reveal_content
from coordinator.protocol.types import JsonObject

NOT_COMMITTED = "not-committed"
"""Code of a client that has nothing to reveal; nodes that committed to nothing may be asked too."""

_log = logging.getLogger(__name__)


def gather_commitments(
    service: RoundDriver, sent: Sequence[Message], replies: Iterable[Message]
) -> list[int]:
    """Offer every commitment to the service as it arrives; return the nodes that made one."""
    recipients: Recipients | None = None
    answered: set[str] = set()
    nodes = []
    for reply in replies:
        # A streaming grid sends the messages only when its first reply is requested.
        recipients = recipients or Recipients.of(sent, MessageType.TRAIN)
        answered.add(reply.metadata.reply_to_message_id)
        if _offer(service, reply, recipients):
            nodes.append(recipients.nodes[reply.metadata.reply_to_message_id])
    recipients = recipients or Recipients.of(sent, MessageType.TRAIN)
    for sender in recipients.unanswered(answered):
        service.refuse(sender, refusal("no-reply", "no commitment came before the timeout"))
    return sorted(set(nodes))


def _offer(service: RoundDriver, reply: Message, recipients: Recipients) -> bool:
    sender = recipients.sender(reply)
    try:
        signed = read_commitment(check_reply(reply, recipients))
    except ContributorError as error:
        _log.info("refused the commitment of %s: %s", sender, error)
        service.refuse(sender, error)
        return False
    try:
        service.commit(signed)
    except ContributorError as error:  # the service has recorded it
        _log.info("refused the commitment of %s: %s", sender, error)
        return False
    return True


def reveal_queries(
    service: RoundDriver,
    announcement: RoundAnnouncement,
    commitments: JsonObject,
    nodes: Iterable[int],
) -> list[Message]:
    """Return the signed messages that ask nodes to reveal what they committed to."""
    document = canonical_json(commitments)
    content = reveal_content(document)
    signed = service.sign_instruction(announcement.round_id, REVEAL, content).signed
    record = ConfigRecord(
        {
            wire.VERSION: wire.WIRE_VERSION,
            wire.ROUND: int(announcement.round_id),
            wire.CHAIN_ID: announcement.domain.chain_id,
            wire.CONTRACT: announcement.domain.verifying_contract,
            wire.BASE_MODEL: signed.statement.base_model.hex(),
            wire.RULE_HASH: signed.statement.rule_hash.hex(),
            wire.DEADLINE: signed.statement.deadline,
            wire.COMMITMENTS: document.decode("ascii"),
            wire.SIGNATURE: signed.signature.hex(),
        }
    )
    records, group = RecordDict({wire.REVEAL: record}), str(announcement.round_id)
    return [Message(records, node, MessageType.QUERY, group_id=group) for node in nodes]
