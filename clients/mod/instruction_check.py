"""Checks the coordinator's signature on what a participant is told, and keeps it (ADR 164, 165).

First of all checks, so that an instruction that is wrong on chain, or the second of two, is kept as
well: it is evidence. What differs is refused; the first was answered, or may be asked for again.
"""

import logging
from dataclasses import replace
from typing import Any

from clients.mod.instruction import (
    Instruction,
    InstructionRefusedError,
    check_domain,
)
from clients.mod.participation import Participant
from clients.mod.sealing import RevealQuery
from coordinator.protocol.errors import SignatureError, VerificationError
from coordinator.protocol.instructions import (
    EVALUATE,
    REVEAL,
    TRAIN,
    content_hash,
    differences,
    phase_number,
    reveal_content,
    verify_instruction,
)
from coordinator.protocol.signatures.eip712 import recover_signer
from coordinator.protocol.types import (
    Address,
    JsonObject,
    RoundInstruction,
    Signed,
    SignedInstruction,
    SigningDomain,
)

_log = logging.getLogger(__name__)


def check_instruction(
    instruction: Instruction, participant: Participant, *, training: bool
) -> None:
    """Check and keep an instruction to train or to evaluate.

    Raises
    ------
    InstructionRefusedError
        ``wrong-domain``, ``wrong-instruction-signature`` or ``conflicting-instruction``.
    StoreError
        If it cannot be kept: then it is not to be acted on.
    """
    check_domain(instruction.chain_id, instruction.contract, participant.chain_view.domain)
    phase = TRAIN if training else EVALUATE
    _check(instruction, phase, instruction.content, participant)


def check_reveal_query(query: RevealQuery, participant: Participant) -> None:
    """Check and keep an instruction to reveal; raises as :func:`check_instruction`."""
    check_domain(query.chain_id, query.contract, participant.chain_view.domain)
    _check(query, REVEAL, reveal_content(query.commitments.encode()), participant)


def _check(
    told: Instruction | RevealQuery, phase: str, content: JsonObject, participant: Participant
) -> None:
    domain = participant.chain_view.domain
    instruction = _verified(told, phase, content, domain)
    if participant.instructions is None:
        return
    kept = participant.instructions.keep(instruction)
    first = kept[0]
    if first.signed.statement == instruction.signed.statement:
        return
    changes = ", ".join(differences(first, instruction))
    _log.error(
        "round %d: the coordinator signed two different %s instructions (%s): evidence of "
        "equivocation, kept; 'fedproof evidence export' writes it to a file",
        told.round_id,
        phase,
        changes,
    )
    raise InstructionRefusedError(
        "conflicting-instruction",
        f"round {told.round_id}: the coordinator signed another {phase} instruction before, which "
        f"differs in {changes}; both are kept as evidence",
    )


def _verified(
    told: Instruction | RevealQuery, phase: str, content: JsonObject, domain: SigningDomain
) -> SignedInstruction:
    try:
        statement = RoundInstruction(
            told.round_id,
            phase_number(phase),
            told.base_model,
            told.rule_hash,
            told.deadline,
            content_hash(content),
        )
        unnamed: Signed[Any] = Signed(Address(""), statement, told.signature)
        signer = recover_signer(domain, unnamed)
        signed = replace(unnamed, signer=signer)
        instruction = SignedInstruction(domain, signed, content)
        verify_instruction(instruction)
    except (SignatureError, VerificationError) as error:
        raise InstructionRefusedError("wrong-instruction-signature", str(error)) from error
    return instruction
