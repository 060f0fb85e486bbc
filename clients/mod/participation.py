"""A client's identity in a federation, and the conditions under which it takes part in a round."""

from dataclasses import dataclass

# isort: split
from flwr.app import Context

from clients.mod.chain_view import ChainView
from clients.mod.instruction import Instruction, InstructionRefusedError
from clients.mod.journal import SignatureJournal
from clients.mod.pending import ContextPending, PendingUpdates
from clients.mod.signer import UpdateSigner
from coordinator.ports import InstructionStore


@dataclass(frozen=True)
class Participant:
    """A client's identity: its key, its view of the chain, and the record of its signatures.

    A ``journal`` of ``None`` keeps the record in Flower's ``Context.state``, which lasts as long
    as the node's process; a contributor with a bond should use a
    :class:`~clients.mod.journal.FileJournal`. The same applies to ``pending``, which keeps updates
    of sealed rounds until they are revealed (:class:`~clients.mod.pending.FilePending`).
    ``rule_hash`` is the only rule to take part under, ``None`` for any. ``sealed`` says whether the
    federation agreed on sealed rounds; ``None`` trusts the coordinator, who could then let updates
    be copied. ``instructions`` keeps what the coordinator signed
    (:class:`~coordinator.stores.instructions.InstructionFolder`), so that two instructions for one
    phase of a round are noticed and can be shown; with ``None`` signatures are checked, and nothing
    is kept.
    """

    signer: UpdateSigner
    chain_view: ChainView
    journal: SignatureJournal | None = None
    rule_hash: bytes | None = None
    pending: PendingUpdates | None = None
    sealed: bool | None = None
    instructions: InstructionStore | None = None


def check_rule(instruction: Instruction, participant: Participant) -> None:
    """Raise ``InstructionRefusedError`` (``wrong-rule``) unless the rule is the participant's."""
    agreed = participant.rule_hash
    if agreed is not None and instruction.rule_hash != agreed:
        raise InstructionRefusedError(
            "wrong-rule",
            f"round {instruction.round_id} runs under rule {instruction.rule_hash.hex()}, this "
            f"client takes part under {agreed.hex()} only",
        )


def check_sealed(instruction: Instruction, participant: Participant) -> None:
    """Raise ``InstructionRefusedError`` if the round is not sealed as agreed, or not open so."""
    if participant.sealed is not None and instruction.sealed is not participant.sealed:
        requested, agreed = (
            ("a commitment", "open") if instruction.sealed else ("an update", "sealed")
        )
        raise InstructionRefusedError(
            "not-sealed" if participant.sealed else "sealed",
            f"round {instruction.round_id}: asked for {requested}, but the federation's rounds are "
            f"{agreed}",
        )


def pending_of(participant: Participant, context: Context) -> PendingUpdates:
    """Return the participant's store of committed updates."""
    return participant.pending or ContextPending(context)
