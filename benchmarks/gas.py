"""Measures the gas of every call and of whole rounds: ``python -m benchmarks.gas``.

Writes ``docs/gas.md``. Gas is deterministic: the numbers are those of the committed bytecode, on
any machine. Measured on the embedded chain; anvil charges the same.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from web3 import Web3

from contracts.binding import calls
from contracts.binding.calls import GAS_LIMITS, Call
from contracts.binding.federation import Federation
from contracts.binding.records import Terms
from contracts.binding.transactions import Receipt
from contracts.node.genesis import GenesisConfig
from contracts.node.node import EmbeddedNode
from contracts.node.provider import EmbeddedProvider
from contracts.node.rpc import Dispatcher
from coordinator.protocol.commitments.digests import rewards_tree
from coordinator.protocol.commitments.standard_tree import StandardTree
from coordinator.protocol.round.chain_round import Seal, Settlement
from coordinator.protocol.signatures.eip712 import sign_statement
from coordinator.protocol.types import (
    Address,
    RewardLeaf,
    RoundId,
    UpdateMessage,
    Wei,
    address_bytes,
)

DOCUMENT: Final = Path(__file__).parent.parent / "docs" / "gas.md"
SIZES: Final = (5, 50, 500, 5_000)
ROUND_CALLS: Final = ("open_round", "seal_round", "settle_round", "finalize_round")
_STAKE: Final = Wei(10**15)
_BUDGET: Final = Wei(10**18)
_UNBONDING_S: Final = 10_000
_BATCH: Final = 200


def _digest(text: str) -> bytes:
    return keccak(text=text)


def _account(name: str) -> LocalAccount:
    account: LocalAccount = Account.from_key(_digest(f"gas {name}"))
    return account


@dataclass
class GasBench:
    """A federation with ``size`` bonded members; ``used`` is the gas of its calls, by name."""

    size: int
    used: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.coordinator, self.anyone = _account("coordinator"), _account("anyone")
        members = [_account(f"member {i}") for i in range(self.size)]
        self.members = sorted(members, key=lambda account: address_bytes(account.address))
        accounts = (self.coordinator, self.anyone, *self.members)
        alloc = {Address(account.address): Wei(10**22) for account in accounts}
        self.node = EmbeddedNode.create_or_open(None, GenesisConfig(alloc=alloc))
        terms = Terms(
            coordinator=Address(self.coordinator.address),
            initial_model_root=_digest("model 0"),
            config_digest=_digest("config"),
            min_stake_wei=_STAKE,
            min_coordinator_bond_wei=_STAKE,
            round_budget_wei=_BUDGET,
            min_contributors=2,
            min_open_s=0,
            challenge_window_s=0,
            unbonding_period_s=_UNBONDING_S,
            contributor_slash_bps=5_000,
            coordinator_slash_bps=5_000,
        )
        w3 = Web3(EmbeddedProvider(Dispatcher(self.node)))
        self.federation = Federation.deploy(w3, self.coordinator, terms)
        deployed = self.node.get_block(1)
        assert deployed is not None
        self.used["deploy"] = deployed.gas_used
        self.tree = self._rewards(0)

    def do(self, name: str, account: LocalAccount, call: Call) -> Receipt:
        """Send a call and record its gas under a name."""
        receipt = self.federation.transact(account, call)
        self.used[name] = receipt.gas_used
        return receipt

    def populate(self) -> None:
        """Bond all members and fund the pool."""
        self.do("join, first time", self.members[0], calls.join(_STAKE))
        rest = [(member, calls.join(_STAKE)) for member in self.members[1:]]
        for start in range(0, len(rest), _BATCH):
            batch = self.federation.prepare_all(rest[start : start + _BATCH])
            self.federation.send_batch(batch)
        self.do("bond_coordinator", self.coordinator, calls.bond_coordinator(_STAKE))
        self.do("fund", self.anyone, calls.fund(Wei(100 * _BUDGET)))

    def _rewards(self, rounds: int) -> StandardTree:
        """Return the rewards tree after some rounds that paid all to the first member."""
        earned = [Wei(rounds * _BUDGET), *[Wei(0)] * (self.size - 1)]
        return rewards_tree(
            [
                RewardLeaf(Address(member.address), amount)
                for member, amount in zip(self.members, earned, strict=True)
            ]
        )

    def open(self, number: int) -> None:
        """Open the next round on the head."""
        head, deadline = self.federation.head(), self.federation.now() + _UNBONDING_S // 2
        call = calls.open_round(RoundId(number), head.model_root, _digest("rule"), deadline)
        self.do("open_round", self.coordinator, call)

    def play(self, number: int) -> int:
        """Run a round with all members; return its gas."""
        round_id = RoundId(number)
        self.open(number)
        seal = Seal(
            contributors_root=_digest(f"contributors {number}"),
            n=self.size,
            total_examples=100 * self.size,
            total_stake_wei=Wei(_STAKE * self.size),
            new_model_root=_digest(f"model {number}"),
        )
        self.do("seal_round", self.coordinator, calls.seal_round(round_id, seal))
        self.tree = self._rewards(number)
        settlement = Settlement(
            scores_root=_digest(f"scores {number}"),
            total_score=10**6,
            rewards_root=self.tree.root,
            paid_wei=_BUDGET,
        )
        self.do("settle_round", self.coordinator, calls.settle_round(round_id, settlement))
        self.do("finalize_round", self.anyone, calls.finalize_round(round_id))
        return sum(self.used[name] for name in ROUND_CALLS)

    def claim(self, name: str, rounds: int) -> None:
        """Claim all rewards of the first member."""
        call = calls.claim(Wei(rounds * _BUDGET), self.tree.proof(0))
        self.do(name, self.members[0], call)

    def close(self) -> None:
        """Close the chain."""
        self.node.close()


def measure_round(size: int) -> dict[str, int]:
    """Return the gas of a round's calls with ``size`` contributors, and of claims after it.

    The third round is measured, since the first writes storage words that later rounds only change.
    """
    bench = GasBench(size)
    bench.populate()
    first = bench.play(1)
    bench.claim("claim, first time", 1)
    bench.play(2)
    total = bench.play(3)
    bench.claim("claim, later", 3)
    names = (*ROUND_CALLS, "claim, first time", "claim, later")
    used = {name: bench.used[name] for name in names}
    bench.close()
    return {**used, "round": total, "first round": first}


def measure_calls() -> dict[str, int]:
    """Return the gas of every other call, in a federation of 50."""
    bench = GasBench(50)
    bench.populate()
    member, victim = bench.members[0], bench.members[1]
    bench.do("join, adding to a bond", member, calls.join(Wei(1)))
    bench.do("set_referee", bench.coordinator, calls.set_referee(bench.federation.address))
    bench.open(1)
    commitment = calls.commit_updates(RoundId(1), _digest("commitments"), 50)
    bench.do("commit_updates", bench.coordinator, commitment)
    messages = [
        UpdateMessage(RoundId(1), _digest("model 0"), _digest(f"update {i}"), 100, _digest("m"))
        for i in range(2)
    ]
    domain, key = bench.federation.domain, bytes(victim.key)
    evidence = calls.slash_equivocation(*(sign_statement(domain, m, key) for m in messages))
    bench.do("slash_equivocation", bench.anyone, evidence)
    bench.do("collect", bench.anyone, calls.collect())
    bench.do("leave", member, calls.leave())
    bench.do("void_round", bench.coordinator, calls.void_round(RoundId(1), "too few updates"))
    bench.open(2)
    bench.node.mine(timestamp=bench.federation.now() + _UNBONDING_S)
    bench.do("expire_round", bench.anyone, calls.expire_round(RoundId(2)))
    bench.do("withdraw", member, calls.withdraw())
    bench.do("unbond_coordinator", bench.coordinator, calls.unbond_coordinator())
    skip = {"open_round"}
    used = {name: gas for name, gas in bench.used.items() if name not in skip}
    bench.close()
    return used


def render(others: Mapping[str, int], rounds: Mapping[int, Mapping[str, int]]) -> str:
    """Return the document."""
    sizes = sorted(rounds)
    lines = [
        "# Gas",
        "",
        "Written by `python -m benchmarks.gas` (`make gas`); a test measures again and compares.",
        "Gas is deterministic: these are the numbers of the committed bytecode on any machine.",
        "",
        "## A round, by number of contributors",
        "",
        "All members take part. A round's gas grows by single bytes of calldata only; the proof of",
        "a claim grows with the logarithm of the members.",
        "",
        "| call | " + " | ".join(f"{size:,}" for size in sizes) + " |",
        "|---|" + "--:|" * len(sizes),
    ]
    titles = {
        **{name: f"`{name}`" for name in ROUND_CALLS},
        "round": "**the four together**",
        "first round": "a federation's very first round",
        "claim, first time": "`claim`, first time",
        "claim, later": "`claim`, later",
    }
    for name, title in titles.items():
        cells = " | ".join(f"{rounds[size][name]:,}" for size in sizes)
        lines.append(f"| {title} | {cells} |")
    lines += [
        "",
        "## Every other call",
        "",
        "| call | gas | limit sent |",
        "|---|--:|--:|",
    ]
    for name, gas in sorted(others.items()):
        lines.append(_row(name, gas))
    lines += [
        "",
        "`claim` pays per proof; the limits sent with each transaction are fixed",
        "(`contracts/binding/calls.py`), and what is not used is not paid. `hold_round` and",
        "`convict_coordinator` take calls of the referee only: their gas is in that of its own",
        "calls ([disputes.md](disputes.md)).",
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, gas: int) -> str:
    function, _, situation = name.partition(", ")
    limit = calls.DEPLOY_GAS_LIMIT if function == "deploy" else GAS_LIMITS[function]
    title = f"`{function}`, {situation}" if situation else f"`{function}`"
    return f"| {title} | {gas:,} | {limit:,} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gas", description=__doc__)
    parser.add_argument("--out", type=Path, default=DOCUMENT, help="file to write")
    out: Path = parser.parse_args(arguments).out
    rounds = {}
    for size in SIZES:
        rounds[size] = measure_round(size)
        print(f"{size:>5} contributors: {rounds[size]['round']:,} gas a round")
    out.write_text(render(measure_calls(), rounds), encoding="utf-8")
    print(f"written: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
