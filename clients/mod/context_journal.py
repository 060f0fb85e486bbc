"""A signature journal in Flower's ``Context.state``."""

# isort: split
from flwr.app import ConfigRecord, Context

from clients.mod.journal import check_unsigned, journal_key
from coordinator.protocol.types import Address, RoundId, SigningDomain

_JOURNAL_RECORD = "fedproof.journal"
_JOURNAL_ROUNDS = 64


class ContextJournal:
    """A journal that lasts as long as the node's process, over all of its messages."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def record(
        self, domain: SigningDomain, round_id: RoundId, contributor: Address, update_root: bytes
    ) -> None:
        """See :class:`~clients.mod.journal.SignatureJournal`."""
        records = self._context.state.config_records
        signed = records.get(_JOURNAL_RECORD, ConfigRecord())
        key = journal_key(domain, round_id, contributor)
        known = signed.get(key)
        check_unsigned(None if known is None else str(known), update_root, round_id, contributor)
        kept = dict(list(signed.items())[-_JOURNAL_ROUNDS:])
        self._context.state[_JOURNAL_RECORD] = ConfigRecord({**kept, key: update_root.hex()})
