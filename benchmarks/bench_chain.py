"""Transactions per second of the embedded chain: ``python -m benchmarks.bench_chain``.

Transfers and calls of a contract with a counter, one and a hundred per block, in memory and on
disk; and the speed of verification by a replica. Signing, which senders do, is not timed. Every
figure is the median of :data:`REPEATS` runs on a new chain, interleaved, so that a slow minute of
the machine affects all of them.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from eth_account import Account
from eth_account.signers.local import LocalAccount

from contracts.node.genesis import GenesisConfig
from contracts.node.node import EmbeddedNode
from contracts.node.replica import replay
from coordinator.protocol.types import Address, Wei

REPEATS: Final = 5
TRANSACTIONS: Final = 200
WORKLOADS: Final = ("transfer", "call")
PER_BLOCK: Final = (1, 100)
STORES: Final = ("memory", "durable")
# PUSH0 SLOAD PUSH1 1 ADD PUSH0 SSTORE STOP, behind a constructor that returns these 8 bytes.
COUNTER: Final = bytes.fromhex("6008600c60003960086000f3") + bytes.fromhex("5f546001015f5500")


@dataclass(frozen=True)
class _Sender:
    account: LocalAccount

    def sign(self, nonce: int, **fields: Any) -> bytes:
        transaction = {
            "to": "0x" + "11" * 20,
            "value": 1,
            "gas": 21_000,
            "nonce": nonce,
            "chainId": 1337,
            "maxFeePerGas": 10**10,
            "maxPriorityFeePerGas": 0,
            **fields,
        }
        return bytes(self.account.sign_transaction(transaction).raw_transaction)


def _prepared(sender: _Sender, node: EmbeddedNode, workload: str) -> list[bytes]:
    """Deploy the counter and sign the workload's transactions."""
    block = node.mine([sender.sign(0, to="", value=0, gas=200_000, data=COUNTER)])
    counter = block.receipts[0].contract_address
    target = {"to": counter, "value": 0, "gas": 60_000} if workload == "call" else {}
    return [sender.sign(nonce, **target) for nonce in range(1, TRANSACTIONS + 1)]


def _mine_all(node: EmbeddedNode, raws: Sequence[bytes], per_block: int) -> float:
    """Return the seconds to mine all transactions; every one must succeed."""
    start = time.perf_counter()
    blocks = [node.mine(raws[i : i + per_block]) for i in range(0, len(raws), per_block)]
    elapsed_s = time.perf_counter() - start
    succeeded = sum(receipt.status for block in blocks for receipt in block.receipts)
    if succeeded != len(raws):
        raise RuntimeError(f"{len(raws) - succeeded} of {len(raws)} transactions had no effect")
    return elapsed_s


def _measure(folder: Path, workload: str, per_block: int, store: str) -> tuple[float, float | None]:
    """Return transactions per second mined, and replayed if there is a file."""
    sender = _Sender(Account.from_key((1).to_bytes(32, "big")))
    genesis = GenesisConfig(alloc={Address(sender.account.address): Wei(10**24)})
    path = folder / "chain.sqlite" if store == "durable" else None
    with EmbeddedNode.create_or_open(path, genesis) as node:
        raws = _prepared(sender, node, workload)
        mined = len(raws) / _mine_all(node, raws, per_block)
    if path is None:
        return mined, None
    start = time.perf_counter()
    result = replay(path, genesis)
    return mined, result.transactions / (time.perf_counter() - start)


def run() -> list[dict[str, Any]]:
    """Measure everything; return a row for each workload, block size and store.

    Returns
    -------
    Rows with ``workload``, ``per_block``, ``store``, ``tx_per_s`` (median), ``low`` and ``high``
    (extremes of the repeats); for durable ones also ``of_memory`` (ratio of medians) and
    ``replayed_tx_per_s``.
    """
    cases = [(w, n, s) for w in WORKLOADS for n in PER_BLOCK for s in STORES]
    mined: dict[tuple[str, int, str], list[float]] = {case: [] for case in cases}
    replayed: dict[tuple[str, int, str], list[float]] = {case: [] for case in cases}
    for _ in range(REPEATS):
        for case in cases:
            folder = Path(tempfile.mkdtemp(prefix="fedproof-bench-"))
            try:
                speed, replay_speed = _measure(folder, *case)
            finally:
                shutil.rmtree(folder)
            mined[case].append(speed)
            if replay_speed is not None:
                replayed[case].append(replay_speed)
    return [_row(case, mined, replayed[case]) for case in cases]


def _row(
    case: tuple[str, int, str],
    mined: dict[tuple[str, int, str], list[float]],
    replayed: list[float],
) -> dict[str, Any]:
    workload, per_block, store = case
    median = statistics.median(mined[case])
    row: dict[str, Any] = {
        "workload": workload,
        "per_block": per_block,
        "store": store,
        "tx_per_s": median,
        "low": min(mined[case]),
        "high": max(mined[case]),
    }
    if replayed:
        memory = statistics.median(mined[workload, per_block, "memory"])
        row["of_memory"] = median / memory
        row["replayed_tx_per_s"] = statistics.median(replayed)
    return row


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| workload | per block | store | tx/s (median) | low-high | of memory | replay tx/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = f"{row['of_memory']:.2f}" if "of_memory" in row else ""
        replayed = f"{row['replayed_tx_per_s']:.0f}" if "replayed_tx_per_s" in row else ""
        lines.append(
            f"| {row['workload']} | {row['per_block']} | {row['store']} | {row['tx_per_s']:.0f}"
            f" | {row['low']:.0f}-{row['high']:.0f} | {ratio} | {replayed} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(run()))
