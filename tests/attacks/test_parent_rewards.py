"""The rewards of a final round are no longer published; the next round's tree gives all to one.

Without the parent's document nobody can show what a member had earned before, and nothing can be
demanded of a round that is final.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
from fraud_bench import FraudBench
from known_weakness import attacker_fails, known_weakness

from coordinator.protocol.round.chain_round import ChainRound
from coordinator.protocol.types import Address, RoundId, ScoredRound, Wei
from simulations.run.chain import finalize_all

HONEST_ROUNDS = 3


def false_rewards(
    bench: FraudBench, monkeypatch: pytest.MonkeyPatch, *, parent_published: bool
) -> None:
    """Settle a round that gives the whole reserve to one member, while a watcher runs."""
    chain, watcher = bench.chain, bench.watcher()
    accomplice = Address(chain.identities.contributors[0].address)
    for _ in range(HONEST_ROUNDS):
        bench.play(watched=False)
        watcher.step()
    finalize_all(chain)
    reserve = chain.federation.head().reserve_wei

    def drafted(_: ChainRound, scored: ScoredRound) -> ScoredRound:
        rewards = [
            replace(leaf, cumulative_wei=Wei(leaf.cumulative_wei + reserve))
            if leaf.contributor == accomplice
            else leaf
            for leaf in scored.rewards
        ]
        return replace(scored, rewards=rewards)

    monkeypatch.setattr(bench.service._settler, "_drafted", drafted)
    root = chain.ledger.round(RoundId(HONEST_ROUNDS)).rewards_root
    bench.play(watched=False)
    if not parent_published:
        bench.public.path(root, "rewards.json").unlink()
    while watcher.step():
        continue
    finalize_all(chain)


@known_weakness("rewards below a final round are lost")
def test_known_weakness_the_reserve_goes_to_one_once_the_parents_rewards_are_gone(
    make_bench: Callable[..., FraudBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(rewards={"round_budget_wei": 10**18})
    false_rewards(bench, monkeypatch, parent_published=False)
    attacker_fails(bench.statuses()[-1] == "void", "the false rewards are final")


def test_with_the_parents_rewards_published_the_watcher_convicts(
    make_bench: Callable[..., FraudBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(rewards={"round_budget_wei": 10**18})
    false_rewards(bench, monkeypatch, parent_published=True)
    assert bench.statuses() == ["final"] * HONEST_ROUNDS + ["void"]
