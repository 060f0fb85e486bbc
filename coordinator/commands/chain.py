"""``fedproof chain``: serve an embedded chain to other processes; show its blocks."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.commands.output import console, print_json, print_json_line
from coordinator.protocol.amounts import ETHER, ether
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.types import Address, Wei

if TYPE_CHECKING:
    from contracts.node.operate import BlockSummary

chain_app = typer.Typer(
    help="The embedded chain: serve it, show its blocks.",
    no_args_is_help=True,
    add_completion=False,
    suggest_commands=False,
)


@chain_app.command()
def serve(
    path: Annotated[
        Path | None, typer.Argument(help="The chain file, opened or created; default: in memory.")
    ] = None,
    host: Annotated[str, typer.Option(help="Loopback address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8545,
    account: Annotated[
        list[str] | None,
        typer.Option(help="An address with a balance on a new chain. Repeatable."),
    ] = None,
    balance: Annotated[int, typer.Option(min=0, help="That balance, in ether.")] = 10_000,
    chain_id: Annotated[int, typer.Option(min=1, help="Chain id of a new chain.")] = 1337,
    interval: Annotated[
        float, typer.Option(help="Seconds between blocks; 0: one block per transaction.")
    ] = 0.2,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Another Host header to accept. Repeatable.")
    ] = None,
    dev: Annotated[
        bool, typer.Option("--dev", help="Add evm_* and fedproof_* development methods.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, on one line, once it listens.")
    ] = False,
) -> None:
    """Serve an embedded chain over HTTP JSON-RPC on loopback, until Ctrl-C or SIGTERM.

    Examples:

      [bold]fedproof chain serve chain.sqlite --account 0x7E5F...95Bdf[/bold]

      [bold]fedproof chain serve --port 0 --dev --json[/bold]

    Exit status: 0; 2 if the port is taken or an address is malformed; 5 if the chain is in use.
    """
    from contracts.node.node import EmbeddedNode
    from contracts.node.operate import new_genesis
    from contracts.node.operate import serve as serve_chain

    fresh = path is None or not path.exists()
    if not fresh and account:
        raise ConfigError(f"--account: {path} exists already; balances are set when it is made")
    genesis = None
    if fresh:
        genesis = new_genesis(
            [Address(a) for a in account or []],
            chain_id=chain_id,
            balance_wei=Wei(balance * ETHER),
        )

    def ready(url: str, node: EmbeddedNode) -> None:
        if as_json:
            facts = {"url": url, "chain_id": node.genesis.chain_id, "block": node.head_number}
            print_json_line(facts | {"file": None if path is None else str(path)})
            return
        console.print(f"chain {node.genesis.chain_id} at {url}, block {node.head_number}")
        console.print(f"file  {path or '(in memory: lost when this command ends)'}")

    serve_chain(
        path,
        genesis=genesis,
        host=host,
        port=port,
        dev=dev,
        mining="interval" if interval else "instant",
        interval_s=interval or 1.0,
        allowed_hosts=allow_host or (),
        on_ready=ready,
    )
    if not as_json:
        console.print("stopped; every block is on disk" if path else "stopped")


@chain_app.command()
def show(
    path: Annotated[Path, typer.Argument(help="A chain file, or a run's folder.")],
    last: Annotated[
        int | None, typer.Option(min=1, help="Number of newest blocks; default: all.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show the blocks of a chain file and their transactions.

    Example: [bold]fedproof chain show runs/quickstart --last 10[/bold]

    Exit status: 0; 5 if a node has the file open; 6 if it is not a chain file.
    """
    from contracts.binding.artifacts import load_artifact
    from contracts.node.operate import describe

    file = path / "chain" / "chain.sqlite" if path.is_dir() else path
    functions = load_artifact("federation").functions
    names = {function.selector: name for name, function in functions.items()}
    blocks = describe(file, last=last, method_names=names)
    if as_json:
        print_json({"chain": str(file), "blocks": [_block_json(block) for block in blocks]})
        return

    def line(block: "BlockSummary") -> str:
        when = datetime.fromtimestamp(block.timestamp, UTC).strftime("%Y-%m-%d %H:%M:%S")
        return (
            f"block {block.number:>5}  {when}  0x{block.hash.hex()[:16]}  "
            f"{len(block.transactions):>3} tx  {block.gas_used:>9} gas"
        )

    for block in blocks:
        console.print(line(block), soft_wrap=True)
        for sent in block.transactions[:5]:
            outcome = "" if sent.status else "  [red]reverted[/red]"
            value = f"  {ether(sent.value_wei)}" if sent.value_wei else ""
            console.print(
                f"      {sent.method or 'transfer':<20} {sent.sender}{value}{outcome}",
                soft_wrap=True,
            )
        if len(block.transactions) > 5:
            console.print(f"      ... and {len(block.transactions) - 5} more")


def _block_json(block: "BlockSummary") -> dict[str, object]:
    return {
        "number": block.number,
        "hash": "0x" + block.hash.hex(),
        "timestamp": block.timestamp,
        "gas_used": block.gas_used,
        "transactions": [
            {
                "hash": "0x" + sent.hash.hex(),
                "from": sent.sender,
                "to": sent.to,
                "method": sent.method,
                "status": sent.status,
                "gas_used": sent.gas_used,
                "value_wei": sent.value_wei,
            }
            for sent in block.transactions
        ],
    }
