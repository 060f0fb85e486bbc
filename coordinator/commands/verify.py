"""``fedproof verify``: replay a run and print every fault."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from coordinator.audit.verify.findings import Findings, RoundFinding, Unread
from coordinator.commands.output import console, print_json, short
from coordinator.commands.run_names import run_folder
from coordinator.local import keyfile
from coordinator.protocol.amounts import ether
from coordinator.protocol.errors import ConfigError, StoreError, UnknownRuleError
from coordinator.settings.rules import load_extensions


def verify(
    run: Annotated[
        Path | None,
        typer.Argument(
            help="A run's folder, or its name in runs/, or a coordinator's folder; not with --rpc "
            "and --store."
        ),
    ] = None,
    block: Annotated[
        str | None,
        typer.Option(help="A block hash seen earlier: it must still be in the chain."),
    ] = None,
    partial: Annotated[
        bool,
        typer.Option("--partial", help="Check an unfinished run: its rounds so far."),
    ] = False,
    rpc: Annotated[str | None, typer.Option(help="JSON-RPC URL of any node of the chain.")] = None,
    store: Annotated[
        str | None,
        typer.Option(help="The coordinator's URL, or a folder with the artifacts."),
    ] = None,
    contract: Annotated[
        str | None,
        typer.Option(help="The federation's address; default: the one in its federation.json."),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(help="Certificates (PEM) of the only authorities to trust, for both URLs."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="Key file of a bonded account, where updates are for members only."),
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(
            help=f"File whose first line is the password; else ${keyfile.PASSWORD_VARIABLE}, else "
            "a prompt."
        ),
    ] = None,
    extension: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE:NAME",
            help="Your own copy of a rule or a score from outside the package that the federation "
            "uses; its code runs. Repeatable.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Replay a whole run from its chain and blobs alone, and name every fault.

    Every block is executed again, every blob re-hashed, every signature and bond checked, every
    aggregate, score and reward computed again. Nothing is trained and nothing is written. With
    --rpc and --store, the same for a live federation, except that blocks are not executed again:
    they are taken as the node reports them.

    Examples:

      [bold]fedproof verify runs/quickstart[/bold]

      [bold]fedproof verify runs/quickstart --json --block 0x4ad3...[/bold]

      [bold]fedproof verify --rpc https://host:8700/rpc --store https://host:8700 --ca ca.crt[/bold]

    A rule or a score from outside the package is never loaded from the store: --extension names
    your copy. Without it, the results that depend on it are reported as not verified.

    Exit status: 0 if no fault is found; 1 if there is any; 2 if there is no such folder, it holds
    no run or an unfinished one, a rule or a score is not loaded, or bad options; 5 if the node does
    not answer, or a process has the chain open; 6 if a process is writing in the folder, a file
    cannot be read, or the store does not answer or refuses; 7 bad key.
    """
    load_extensions(extension or [], "--extension")
    if (run is None) == (rpc is None):
        raise ConfigError("give either a run's folder, or --rpc URL and --store URL")
    if run is not None:
        if store or contract or ca or key:
            raise ConfigError("--store, --contract, --ca and --key go with --rpc only")
        folder = run_folder(run)
        findings, name = _verify_folder(folder, block, partial), str(folder)
    else:
        if store is None or partial:
            raise ConfigError("--rpc needs --store URL and no --partial")
        secret = None
        if key is not None:
            password = keyfile.password_from(password_file, confirm=False)
            secret = bytes(keyfile.load(key, password).key)
        name = str(rpc)
        findings = _verify_remote(str(rpc), store, contract, ca, secret, block)
    if as_json:
        print_json(findings.as_json())
    else:
        _print(name, findings)
    if findings.faults:
        raise typer.Exit(1)
    if unknown := [unread for unread in findings.unread if unread.is_unknown]:
        raise UnknownRuleError(
            f"{name}: not verified: {_rounds(unknown)}: {unknown[0].detail}; give your own copy of "
            "it by --extension MODULE:NAME"
        )
    if findings.unread:
        first = findings.unread[0]
        raise StoreError(
            f"{name}: not verified: {len(findings.unread)} artifacts could not be read; the first: "
            f"{first.detail}"
        )


def _rounds(unread: Sequence[Unread]) -> str:
    numbers = sorted({item.round_id for item in unread if item.round_id is not None})
    if len(numbers) > 1:
        return f"{len(numbers)} rounds from {numbers[0]} to {numbers[-1]}"
    return f"round {numbers[0]}" if numbers else "the run"


def _verify_folder(run: Path, block: str | None, partial: bool) -> Findings:
    from coordinator.audit.verify.any_folder import verify  # py-evm, only when needed

    return verify(run, seen_block=block, partial=partial)


def _verify_remote(
    rpc: str,
    store: str,
    contract: str | None,
    ca: Path | None,
    secret: bytes | None,
    block: str | None,
) -> Findings:
    from coordinator.audit.verify.remote_audit import RemoteFederation, verify_remote
    from coordinator.ledger.reach import reach

    reached = reach(rpc, store, contract=contract, ca_file=ca, private_key=secret)
    federation = RemoteFederation(reached.w3, reached.contract, reached.store, reached.agreement)
    return verify_remote(federation, seen_block=block)


def _print(run: str, findings: Findings) -> None:
    wrong = {fault.round_id for fault in findings.faults}
    for line in findings.rounds:
        console.print(_line(line, is_wrong=line.round_id in wrong))
    for fault in findings.faults:
        console.print(f"[red]FAULT[/red] {escape(str(fault))}", soft_wrap=True)
    for place, items in _by_place(findings.unread).items():
        for mark, count in (
            ("UNREAD", sum(not unread.is_unknown for unread in items)),
            ("NOT VERIFIED", sum(unread.is_unknown for unread in items)),
        ):
            if count:
                what = "artifact" if count == 1 else "artifacts"
                console.print(f"[yellow]{mark}[/yellow] {place}: {count} {what}")
    if "head_block" in findings.facts:
        console.print(_chain_line(findings), soft_wrap=True)
    if "files" in findings.facts:
        console.print(_files_line(findings.facts["files"]), soft_wrap=True)
    paid = sum(line.paid_wei for line in findings.rounds if line.status == "final")
    rounds = len(findings.rounds)
    so_far = " so far" if findings.facts.get("partial") else ""
    if findings.ok:
        console.print(
            f"[green]OK[/green]    {run}: {rounds} rounds hold{so_far}, {ether(paid)} paid"
        )
    elif findings.faults:
        console.print(
            f"[red]FAILED[/red] {run}: {len(findings.faults)} faults, {rounds} rounds read"
        )


def _by_place(unread: Sequence[Unread]) -> Mapping[str, list[Unread]]:
    places: dict[str, list[Unread]] = {}
    for item in unread:
        place = "run" if item.round_id is None else f"round {item.round_id}"
        places.setdefault(place, []).append(item)
    return places


def _chain_line(findings: Findings) -> str:
    """Return the line on the chain: contract, head, and how its blocks were checked."""
    facts = findings.facts
    blocks = f"{facts['head_block']} blocks"
    if "transactions" in facts:
        checked = f"{blocks}, {facts['transactions']} transactions executed again"
    else:
        agreed = "the agreement's digest checked" if facts["agreement"] else "no agreement given"
        checked = f"{blocks} as the node reports them, {agreed}"
    return (
        f"chain {facts['chain_id']}, contract {facts['contract']}: {checked}, "
        f"head {facts['head_hash']}"
    )


def _files_line(files: Mapping[str, Sequence[str]]) -> str:
    """Return the line on which files of a run are checked by the chain, and which are not."""
    named = (
        ("by the chain", "chain"),
        ("by the chain in part, else by SHA256SUMS", "in_part"),
        ("by SHA256SUMS alone", "sums"),
        ("by nothing", "nothing"),
    )
    parts = [f"{words}: {', '.join(files[kind])}" for words, kind in named if files[kind]]
    return f"files vouched for {'; '.join(parts)}"


def _line(line: RoundFinding, *, is_wrong: bool) -> str:
    mark = "[green]ok[/green]  " if line.ok else "[yellow]?[/yellow]   "
    if is_wrong:
        mark = "[red]BAD[/red] "
    if not line.model_root:
        return f"{mark} round {line.round_id:>3}  {line.status} {line.reason}"
    return (
        f"{mark} round {line.round_id:>3}  {line.status:<7} {line.contributors:>4} contributors  "
        f"paid {ether(line.paid_wei):>7}  model {short(line.model_root)}"
    )
