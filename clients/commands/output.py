"""Output of the operator's commands: amounts to the last wei, chain times, tables of any width."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from contracts.binding.transactions import Receipt
from coordinator.commands.output import console, print_json
from coordinator.protocol.amounts import exact_ether


def amount(wei: int) -> str:
    """Return an amount in ether and in wei, so that it can be copied exactly."""
    return f"{exact_ether(wei)} ({wei} wei)"


def report(as_json: bool, receipt: Receipt, text: str, facts: Mapping[str, Any]) -> None:
    """Print what a transaction did, with its hash, block and fee."""
    transaction = "0x" + receipt.transaction_hash.hex()
    if as_json:
        mined = {
            "transaction": transaction,
            "block": receipt.block_number,
            "gas_used": receipt.gas_used,
            "fee_wei": str(receipt.fee_wei),
        }
        print_json({**facts, **mined})
        return
    console.print(text, soft_wrap=True)
    console.print(
        f"transaction {transaction}, block {receipt.block_number}, {receipt.gas_used} gas, "
        f"{exact_ether(receipt.fee_wei)} paid for it",
        soft_wrap=True,
    )


def report_nothing_sent(as_json: bool, text: str, facts: Mapping[str, Any]) -> None:
    """Print why no transaction was sent."""
    if as_json:
        print_json({**facts, "transaction": None})
        return
    console.print(text, soft_wrap=True)


def moment(timestamp: int) -> str:
    """Return a chain time, seconds since 1970, as a date in UTC."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def duration(seconds: int) -> str:
    """Return a duration in its two largest units.

    Examples
    --------
    >>> duration(59), duration(3_700), duration(200_000)
    ('59 s', '1 h 1 min', '2 d 7 h')
    """
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    parts: list[str] = []
    for name, size in units:
        count, seconds = divmod(seconds, size)
        if count or (name == "s" and not parts):
            parts.append(f"{count} {name}")
    return " ".join(parts[:2])


def table(names: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[str]) -> None:
    """Print columns, those in ``left`` flush left, the others right.

    A terminal may wrap a line, but addresses are never cut.
    """
    columns = list(zip(names, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    for line in zip(*columns, strict=True):
        cells = [
            cell.ljust(width) if name in left else cell.rjust(width)
            for name, cell, width in zip(names, line, widths, strict=True)
        ]
        console.print("  ".join(cells).rstrip(), soft_wrap=True, markup=False)
