"""``fedproof account``: the participant's keys."""

from pathlib import Path
from typing import Annotated

import typer

from coordinator.commands.output import console, print_json
from coordinator.local import keyfile as account

account_app = typer.Typer(
    help="A participant's encrypted key files.",
    no_args_is_help=True,
    add_completion=False,
    suggest_commands=False,
)

PasswordFile = Annotated[
    Path | None,
    typer.Option(
        help=f"File whose first line is the password; else ${account.PASSWORD_VARIABLE}, else a "
        "prompt."
    ),
]


@account_app.command()
def new(
    path: Annotated[Path, typer.Argument(help="Where to write the key file (mode 0600).")],
    password_file: PasswordFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make a key and write it encrypted (Web3 Secret Storage, version 3).

    Example: [bold]fedproof account new keys/hospital.json[/bold]

    Exit status: 0; 7 if the file exists or cannot be written.
    """
    created = account.create(path, account.password_from(password_file, confirm=True))
    if as_json:
        print_json({"address": created.address, "path": str(path)})
        return
    console.print(f"address  {created.address}\nkey file {path} (keep a copy and the password)")


@account_app.command()
def show(
    path: Annotated[Path, typer.Argument(help="The key file.")],
    password_file: PasswordFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Open a key file and print its address; the key itself is never printed.

    Example: [bold]fedproof account show keys/hospital.json --password-file pw[/bold]

    Exit status: 0; 7 if the file is unusable or the password is wrong.
    """
    opened = account.load(path, account.password_from(password_file, confirm=False))
    if as_json:
        print_json({"address": opened.address, "path": str(path)})
        return
    console.print(f"address  {opened.address}")
