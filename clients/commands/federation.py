"""``fedproof federation``: found one, change its participants, renew its certificate."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from coordinator.commands.output import console, print_json, shell
from coordinator.local import keyfile as account
from coordinator.protocol.amounts import ether
from coordinator.protocol.types import Wei

if TYPE_CHECKING:
    from coordinator.founding.create import Founded, OwnKey
    from coordinator.founding.members import FederationMembers, Member
    from coordinator.settings.registry import RegisteredParticipant

federation_app = typer.Typer(
    help="Found a federation; add, remove and list its participants.",
    no_args_is_help=True,
    add_completion=False,
    suggest_commands=False,
)

Folder = Annotated[Path, typer.Option("--dir", help="The federation's folder, as init wrote it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@federation_app.command()
def init(
    config: Annotated[Path, typer.Option(help="The federation's settings, a federation.toml.")],
    out: Annotated[Path, typer.Option(help="The folder to create; never overwritten.")],
    key: Annotated[
        Path | None,
        typer.Option(help="Key file of the coordinator's account; default: a new account."),
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="File whose first line is that key's password.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create keys, certificates, the agreement, the contract, and a folder for each participant.

    Example: [bold]fedproof federation init --config federation.toml --out heart[/bold]

    Exit status: 0; 2 bad configuration or the folder exists; 5 chain; 6 disk; 7 key file.
    """
    from clients.data.load import load_data
    from coordinator.founding.create import create_federation

    # Last, so that modules beside the file cannot replace installed packages.
    sys.path.append(str(config.absolute().parent))
    founded = create_federation(config, out, _own_key(key, password_file), load_examples=load_data)
    if as_json:
        print_json(_founded_json(founded))
        return
    agreement = founded.agreed.agreement
    console.print(f"[bold]{agreement.name}[/bold]  {founded.folder.root}", soft_wrap=True)
    console.print(f"contract     {agreement.contract} on chain {agreement.chain_id}")
    console.print(f"coordinator  {founded.agreed.deployment.terms.coordinator}")
    console.print(f"agreement    {agreement.digest.hex()}")
    for participant in founded.participants:
        console.print(
            f"participant  {participant.address}  participants/{participant.name}", soft_wrap=True
        )
    if founded.waiting_for:
        console.print(
            f"not deployed yet: {founded.waiting_for}", style="yellow", markup=False, soft_wrap=True
        )
    settings = founded.folder.settings
    console.print(f"start        fedproof coordinator --config {shell(settings)}", soft_wrap=True)


@federation_app.command()
def add(
    name: Annotated[str, typer.Argument(help="A short name for the participant.")],
    folder: Folder = Path(),
    address: Annotated[
        str, typer.Option(help="Its own account's address; default: a new account is created.")
    ] = "",
    node_key: Annotated[
        Path | None, typer.Option(help="Public key file of its own SuperNode; default: a new one.")
    ] = None,
    balance: Annotated[
        str, typer.Option(help='On the embedded chain: its balance, like "100 ether".')
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Add a participant: its folder, starting balance and SuperNode; the service may be running.

    Example: [bold]fedproof federation add clinic --dir heart --address 0x7E5F...95Bdf[/bold]

    Exit status: 0; 2 if it exists already; 5 chain; 6 disk; 7 key file.
    """
    from coordinator.founding.invitation import Invited, checked_address, read_public_key
    from coordinator.founding.members import parse_balance

    members = _open(folder)
    invited = Invited(
        _checked_name(name),
        checked_address(address, "--address") if address else "",
        read_public_key(node_key) if node_key else "",
    )
    added = members.add(invited, parse_balance(balance))
    path = members.folder.participant(name)
    if as_json:
        print_json({**_participant_json(added), "folder": str(path)})
        return
    console.print(f"added   {added.name}  {added.address}")
    console.print(f"folder  {path} (hand it to the participant)", soft_wrap=True)


@federation_app.command()
def remove(
    name: Annotated[str, typer.Argument(help="The participant's name.")],
    folder: Folder = Path(),
    as_json: AsJson = False,
) -> None:
    """Exclude a participant's SuperNode; its bond stays, and it can still withdraw it.

    Example: [bold]fedproof federation remove clinic --dir heart[/bold]

    Exit status: 0; 2 if there is no such participant; 6 disk.
    """
    removed = _open(folder).remove(name)
    if as_json:
        print_json(_participant_json(removed))
        return
    console.print(f"removed {removed.name}  {removed.address}; its stake is untouched")


@federation_app.command("list")
def list_participants(folder: Folder = Path(), as_json: AsJson = False) -> None:
    """List the participants: address, bond, whether its SuperNode is admitted and is online.

    Example: [bold]fedproof federation list --dir heart --json[/bold]

    Exit status: 0; 2 if there is no federation in the folder.
    """
    listing = _open(folder).listing()
    if as_json:
        rows = [_member_json(member) for member in listing.members]
        print_json({"participants": rows, "remarks": list(listing.remarks)})
        return
    table = Table("name", "address", "bond", "node", "online", box=None, pad_edge=False)
    for member in listing.members:
        table.add_row(
            member.name,
            member.address,
            "?" if member.bond_wei is None else ether(member.bond_wei),
            "registered" if member.node_registered else "none",
            {None: "?", True: "yes", False: "no"}[member.online],
        )
    console.print(table)
    for remark in listing.remarks:
        console.print(remark, style="yellow", markup=False, soft_wrap=True)


@federation_app.command()
def renew(
    folder: Folder = Path(),
    name: Annotated[
        list[str] | None,
        typer.Option(help="A host name or address of the server; default: as before. Repeatable."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3_652, help="How long it is valid.")] = 730,
    new_authority: Annotated[
        bool,
        typer.Option(
            "--new-authority", help="Replace the authority too, for example after a theft of keys."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Renew the server's certificate with the federation's own authority.

    Participants need nothing new, except after --new-authority: then each needs the new tls/ca.crt
    as its ca.crt. A running service loads the new certificate by itself, within seconds.

    Example: [bold]fedproof federation renew --dir heart[/bold]

    Exit status: 0; 2 if a file of tls/ is missing or the authority has expired; 6 disk.
    """
    from coordinator.founding import renewal

    renew_files = renewal.renew_authority if new_authority else renewal.renew
    renewed = renew_files(folder, name or [], days)
    ends = f"{renewed.ends:%Y-%m-%d %H:%M} UTC"
    if as_json:
        print_json({"path": str(renewed.path), "names": list(renewed.names), "ends": ends})
        return
    console.print(f"renewed {renewed.path}", soft_wrap=True)
    console.print(f"for     {', '.join(renewed.names)}\nuntil   {ends}")
    if renewed.authority is not None:
        console.print(f"give every participant {renewed.authority}", soft_wrap=True)


@federation_app.command("node-key")
def node_key(
    path: Annotated[Path, typer.Argument(help="Where to write it; the public half to PATH.pub.")],
    as_json: AsJson = False,
) -> None:
    """Create a SuperNode's key pair (OpenSSH, P-384); only PATH.pub is handed out.

    Example: [bold]fedproof federation node-key node.key[/bold]

    Exit status: 0; 6 if the file exists or cannot be written.
    """
    from coordinator.founding.invitation import write_node_key

    line = write_node_key(path, path.stem)
    if as_json:
        print_json({"key": str(path), "public": line})
        return
    console.print(f"key     {path}\npublic  {path}.pub", soft_wrap=True)


def _open(folder: Path) -> "FederationMembers":
    from coordinator.founding.members import FederationMembers

    return FederationMembers(folder)


def _own_key(key: Path | None, password_file: Path | None) -> "OwnKey | None":
    if key is None:
        return None
    from coordinator.founding.create import OwnKey

    return OwnKey(key, account.password_from(password_file, confirm=False))


def _checked_name(name: str) -> str:
    from coordinator.founding.members import checked_name

    return checked_name(name)


def _founded_json(founded: "Founded") -> dict[str, object]:
    agreement = founded.agreed.agreement
    return {
        "folder": str(founded.folder.root),
        "name": agreement.name,
        "chain_id": agreement.chain_id,
        "contract": agreement.contract,
        "coordinator": founded.agreed.deployment.terms.coordinator,
        "agreement": agreement.digest.hex(),
        "participants": [_participant_json(entry) for entry in founded.participants],
        "deployed": not founded.waiting_for,
        "waiting_for": founded.waiting_for,
    }


def _participant_json(entry: "RegisteredParticipant") -> dict[str, object]:
    return {"name": entry.name, "address": entry.address, "node_key": entry.node_key}


def _member_json(member: "Member") -> dict[str, object]:
    bond = None if member.bond_wei is None else str(Wei(member.bond_wei))
    return {
        "name": member.name,
        "address": member.address,
        "bond_wei": bond,
        "node_registered": member.node_registered,
        "online": member.online,
    }
