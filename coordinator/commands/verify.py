"""``fedproof verify``: replay a run and say what holds."""

from pathlib import Path
from typing import Annotated

import typer

from coordinator.cli import app
from coordinator.commands.output import console, ether, print_json, short
from coordinator.verify.findings import Findings, RoundFinding


@app.command()
def verify(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    block: Annotated[
        str | None,
        typer.Option(help="A block hash you have seen: it must still be in the chain."),
    ] = None,
    partial: Annotated[
        bool,
        typer.Option("--partial", help="The run is unfinished: check what is there."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Replay a whole run from its chain and blobs alone, and name whatever does not hold.

    Every block is executed again, every blob re-hashed, every signature and bond checked, every
    aggregate, score and reward computed again. Nothing is trained and nothing is written.

    Examples:

      [bold]fedproof verify runs/quickstart[/bold]

      [bold]fedproof verify runs/quickstart --json --block 0x4ad3...[/bold]

    Exit status: 0 if all of it holds; 1 if anything does not; 2 if there is no such folder.
    """
    from coordinator.verify.run_audit import verify_run  # py-evm, only when needed

    findings = verify_run(run, seen_block=block, partial=partial)
    if as_json:
        print_json(findings.as_json())
    else:
        _print(run, findings)
    if not findings.ok:
        raise typer.Exit(1)


def _print(run: Path, findings: Findings) -> None:
    for line in findings.rounds:
        console.print(_line(line))
    for fault in findings.faults:
        console.print(f"[red]FAULT[/red] {fault}", soft_wrap=True)
    facts = findings.facts
    if "head_block" in facts:
        console.print(
            f"chain {facts['chain_id']}, contract {facts['contract']}: "
            f"{facts['head_block']} blocks, {facts['transactions']} transactions executed again, "
            f"head {facts['head_hash']}",
            soft_wrap=True,
        )
    paid = sum(line.paid_wei for line in findings.rounds if line.status == "final")
    rounds = len(findings.rounds)
    if findings.ok:
        console.print(f"[green]OK[/green]    {run}: {rounds} rounds hold, {ether(paid)} paid")
    else:
        console.print(
            f"[red]FAILED[/red] {run}: {len(findings.faults)} faults, {rounds} rounds read"
        )


def _line(line: RoundFinding) -> str:
    mark = "[green]ok[/green]  " if line.ok else "[red]BAD[/red] "
    if not line.model_root:
        return f"{mark} round {line.round_id:>3}  {line.status} {line.reason}"
    return (
        f"{mark} round {line.round_id:>3}  {line.status:<7} {line.contributors:>4} contributors  "
        f"paid {ether(line.paid_wei):>7}  model {short(line.model_root)}"
    )
