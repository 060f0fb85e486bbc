"""Evidence against a coordinator: instructions that it signed, in a file that speaks for itself.

A file holds signed instructions of any rounds, of one participant or of several. It proves
equivocation if two of them are for the same phase of the same round, differ, and are signed by the
coordinator of the contract that they name. Nothing else is needed to check that (ADR 165). Not
handled: files and folders (``clients.commands.evidence``).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from coordinator.protocol.canonical import canonical_json, parse_json
from coordinator.protocol.errors import SignatureError, VerificationError
from coordinator.protocol.instructions import (
    equivocations,
    instruction_from,
    instruction_json,
    phase_number,
    verify_instruction,
)
from coordinator.protocol.types import SignedInstruction

FORMAT: Final = "fedproof-evidence-1"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What signed instructions prove.

    Attributes
    ----------
    pairs
        Two different instructions for each phase of a round that has them: equivocation.
    valid
        The instructions that a coordinator signed, without repeats.
    invalid
        Those that no coordinator signed, each with the reason; they prove nothing.
    """

    pairs: Sequence[tuple[SignedInstruction, SignedInstruction]]
    valid: Sequence[SignedInstruction]
    invalid: Sequence[tuple[SignedInstruction, str]]

    @property
    def proves_equivocation(self) -> bool:
        """Whether a coordinator signed two different instructions for one phase of a round."""
        return bool(self.pairs)


def judge(instructions: Iterable[SignedInstruction]) -> Verdict:
    """Check every signature, and find the instructions that differ."""
    valid: dict[object, SignedInstruction] = {}
    invalid = []
    for instruction in instructions:
        try:
            verify_instruction(instruction)
        except (SignatureError, VerificationError) as error:
            invalid.append((instruction, str(error)))
        else:
            key = (instruction.slot, instruction.signed.statement)
            known = valid.get(key)
            if known is None or known.content is None:
                valid[key] = instruction
    return Verdict(list(equivocations(valid.values())), list(valid.values()), invalid)


def evidence(instructions: Iterable[SignedInstruction]) -> bytes:
    """Return the file of some instructions: the same bytes in whatever order they come."""
    lines = {canonical_json(instruction_json(i)): i for i in instructions}
    ordered = sorted(lines, key=lambda line: (*_place(lines[line]), line))
    documents = [instruction_json(lines[line]) for line in ordered]
    return canonical_json({"format": FORMAT, "instructions": documents}) + b"\n"


def read_evidence(data: bytes, place: str) -> list[SignedInstruction]:
    """Return the instructions in a file; their signatures are not checked.

    Raises
    ------
    VerificationError
        If it is no file of this format; names ``place``, the instruction and the field.
    """
    document = parse_json(data, place)
    if not isinstance(document, dict) or set(document) != {"format", "instructions"}:
        raise VerificationError(
            f"{place}: expected an object with 'format' and 'instructions', as 'fedproof evidence "
            "export' writes it"
        )
    if document["format"] != FORMAT:
        found = repr(document["format"])[:60]
        raise VerificationError(f"{place}: format: found {found}, expected {FORMAT!r}")
    rows = document["instructions"]
    if not isinstance(rows, list):
        raise VerificationError(f"{place}: instructions: expected a list")
    return [
        instruction_from(row, f"{place}: instructions[{number}]") for number, row in enumerate(rows)
    ]


def _place(instruction: SignedInstruction) -> tuple[str, int, int]:
    slot = instruction.slot
    return str(slot.domain), int(slot.round_id), phase_number(slot.phase)
