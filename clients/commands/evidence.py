"""``fedproof evidence``: what a coordinator signed, to show that it told two different things."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from coordinator.commands.output import console, print_json, shell
from coordinator.local.files import create_file, read_file
from coordinator.protocol.errors import ConfigError, StoreError, VerificationError
from coordinator.protocol.evidence import Verdict, evidence, judge, read_evidence
from coordinator.protocol.instructions import differences
from coordinator.protocol.types import SignedInstruction, SigningDomain, Slot
from coordinator.stores.instructions import InstructionFolder

evidence_app = typer.Typer(
    help="What a coordinator signed: export it, and check whether it told two different things.",
    no_args_is_help=True,
    add_completion=False,
    suggest_commands=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
_PLACES = (Path("state/instructions"), Path("instructions"), Path())
_READABLE = 0o644
_LONGEST = 80


@evidence_app.command()
def export(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER...",
            help="A participant's folder, or its state folder, or one of instructions; repeatable.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The file to write; never overwritten.")],
    round_number: Annotated[
        int | None, typer.Option("--round", min=1, help="Only this round's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the instructions that a participant was sent, as their coordinator signed them.

    One participant's are evidence if it was told two different things itself. Else they can be
    compared with another participant's: give both folders, or check both files.

    Examples:

      [bold]fedproof evidence export participants/ada --out ada.json[/bold]

      [bold]fedproof evidence export participants/ada --round 7 --out ada-7.json[/bold]

    Exit status: 0; 2 if nothing is kept there, or the file exists; 6 disk.
    """
    found = [i for folder in folders for i in _kept(folder)]
    chosen = [i for i in found if round_number in (None, i.slot.round_id)]
    if not chosen:
        where = ", ".join(map(str, folders))
        which = "instruction" if round_number is None else f"instruction of round {round_number}"
        raise ConfigError(
            f"{where}: no {which} is kept there; expected a participant's folder, with "
            "state/instructions"
        )
    verdict = judge(chosen)
    _write(out, evidence(chosen))
    rounds = len({i.slot.round_id for i in chosen})
    differing = sorted({first.slot.round_id for first, _ in verdict.pairs})
    if as_json:
        facts = {"instructions": len(verdict.valid), "rounds": rounds, "equivocated": differing}
        print_json({"file": str(out), **facts})
        return
    console.print(f"{out}: {len(verdict.valid)} instructions of {rounds} rounds", markup=False)
    if differing:
        listed = ", ".join(map(str, differing))
        console.print(f"two that differ in round {listed}", style="red", markup=False)
    console.print(f"check it with: fedproof evidence check {shell(out)}", markup=False)


@evidence_app.command()
def check(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="What export wrote; repeatable.")
    ],
    federation: Annotated[
        Path | None,
        typer.Option(help="Your federation.json: only instructions of this federation will do."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a coordinator signed two different instructions for one phase of a round.

    Needs nothing but the files: no chain, no key, no connection. Who the coordinator is follows
    from the contract's address; compare that with your federation's, or give --federation.

    Examples:

      [bold]fedproof evidence check ada.json bob.json[/bold]

      [bold]fedproof evidence check ada-7.json --federation federation.json --json[/bold]

    Exit status: 0 if that is proven; 1 if it is not; 2 if a file is no evidence, or of another
    federation; 6 if one cannot be read.
    """
    instructions = [i for path in files for i in _read(path)]
    if federation is not None:
        _require_federation(instructions, federation)
    verdict = judge(instructions)
    if as_json:
        print_json(_verdict_json(verdict))
    else:
        _print(verdict)
    if not verdict.proves_equivocation:
        raise typer.Exit(1)


def _kept(folder: Path) -> Iterator[SignedInstruction]:
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; expected a participant's")
    for place in _PLACES:
        found = list(InstructionFolder(folder / place).everything())
        if found:
            yield from found
            return


def _write(out: Path, data: bytes) -> None:
    try:
        create_file(out, [data], mode=_READABLE)
    except FileExistsError as error:
        raise ConfigError(f"{out}: exists; evidence is never overwritten") from error
    except FileNotFoundError as error:
        raise ConfigError(f"{out}: there is no folder {out.parent}") from error
    except OSError as error:
        raise StoreError(f"cannot write {out}: {error.strerror or error}") from error


def _read(path: Path) -> Sequence[SignedInstruction]:
    if not path.exists():
        raise ConfigError(f"{path}: no such file; expected what 'fedproof evidence export' wrote")
    try:
        return read_evidence(read_file(path), str(path))
    except VerificationError as error:  # the file is not what it should be: nothing is proven
        raise ConfigError(str(error)) from error


def _require_federation(instructions: Sequence[SignedInstruction], path: Path) -> None:
    from coordinator.settings.agreement import read_agreement  # pydantic, only when needed

    domain = read_agreement(path).domain
    for instruction in instructions:
        if instruction.domain != domain:
            raise ConfigError(
                f"instruction of round {instruction.slot.round_id} is for "
                f"{_named(instruction.domain)}, expected {_named(domain)}, that of {path}"
            )


def _named(domain: SigningDomain) -> str:
    return f"contract {domain.verifying_contract} on chain {domain.chain_id}"


def _verdict_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "equivocation": verdict.proves_equivocation,
        "instructions": len(verdict.valid),
        "proofs": [
            {
                **_slot_json(first.slot),
                "differences": differences(first, second),
                "signatures": [i.signed.signature.hex() for i in (first, second)],
            }
            for first, second in verdict.pairs
        ],
        "invalid": [{**_slot_json(i.slot), "reason": reason} for i, reason in verdict.invalid],
    }


def _slot_json(slot: Slot) -> dict[str, Any]:
    return {
        "chain_id": slot.domain.chain_id,
        "contract": slot.domain.verifying_contract,
        "coordinator": slot.coordinator,
        "round": int(slot.round_id),
        "phase": slot.phase,
    }


def _print(verdict: Verdict) -> None:
    for instruction, reason in verdict.invalid:
        slot = instruction.slot
        console.print(f"INVALID     round {slot.round_id}, {slot.phase}: {reason}", markup=False)
    for first, second in verdict.pairs:
        slot = first.slot
        console.print(
            f"PROVEN      round {slot.round_id}, {slot.phase}: {slot.coordinator}, coordinator of "
            f"{_named(slot.domain)}, signed two different instructions",
            markup=False,
        )
        for field, (one, other) in differences(first, second).items():
            shown = ascii(field)[1:-1]
            console.print(f"            {shown}: {_short(one)} | {_short(other)}", markup=False)
    if not verdict.proves_equivocation:
        rounds = len({i.slot.round_id for i in verdict.valid})
        console.print(
            f"NOT PROVEN  {len(verdict.valid)} instructions of {rounds} rounds, no two of one "
            "round and phase that differ",
            markup=False,
        )


def _short(value: object) -> str:
    text = ascii(value) if value is not None else "none"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
