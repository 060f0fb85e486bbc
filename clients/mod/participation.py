"""Who takes part in a federation, and in which of its rounds."""

from dataclasses import dataclass

# isort: split
from flwr.app import Context

from clients.mod.chain_view import ChainView
from clients.mod.instruction import Instruction, InstructionRefusedError
from clients.mod.journal import SignatureJournal
from clients.mod.pending import ContextPending, PendingUpdates
from clients.mod.signer import UpdateSigner


@dataclass(frozen=True)
class Participant:
    """Who a client is: its key, its view of the chain, and what it has signed.

    ``journal`` of ``None`` keeps the record in Flower's ``Context.state``, which lasts as long
    as the node's process; a contributor with money at stake wants a
    :class:`~clients.mod.journal.FileJournal`. Likewise ``pending``, where updates of sealed rounds
    wait: a contributor wants :class:`~clients.mod.pending.FilePending`. ``sealed`` is what the
    federation agreed on; ``None`` does as the coordinator says, which a copier may be glad of.
    """

    signer: UpdateSigner
    chain_view: ChainView
    journal: SignatureJournal | None = None
    rule_hash: bytes | None = None
    pending: PendingUpdates | None = None
    sealed: bool | None = None


def check_rule(instruction: Instruction, participant: Participant) -> None:
    """Raise ``InstructionRefusedError`` (``wrong-rule``) for a rule it does not take part under."""
    wanted = participant.rule_hash
    if wanted is not None and instruction.rule_hash != wanted:
        raise InstructionRefusedError(
            "wrong-rule",
            f"round {instruction.round_id} runs under rule {instruction.rule_hash.hex()}, this "
            f"client takes part under {wanted.hex()} only",
        )


def check_sealed(instruction: Instruction, participant: Participant) -> None:
    """Raise ``InstructionRefusedError`` if the round is not sealed as agreed, or sealed unasked."""
    if participant.sealed is not None and instruction.sealed is not participant.sealed:
        asked, agreed = ("a commitment", "open") if instruction.sealed else ("an update", "sealed")
        raise InstructionRefusedError(
            "not-sealed" if participant.sealed else "sealed",
            f"round {instruction.round_id}: asked for {asked}, but the federation's rounds are "
            f"{agreed}",
        )


def pending_of(participant: Participant, context: Context) -> PendingUpdates:
    """Return where a participant keeps what it has committed to."""
    return participant.pending or ContextPending(context)
