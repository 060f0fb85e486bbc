"""A round with every offence, on an embedded chain, for the measurements of ``dispute_gas``."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import numpy as np
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from web3 import Web3

from benchmarks.padded_tree import padded_tree
from contracts.binding import calls
from contracts.binding.calls import Call
from contracts.binding.federation import Federation
from contracts.binding.records import Terms
from contracts.binding.referee import Referee
from contracts.node.genesis import GenesisConfig
from contracts.node.node import EmbeddedNode
from contracts.node.provider import EmbeddedProvider
from contracts.node.rpc import Dispatcher
from coordinator.protocol.commitments.digests import (
    contributor_leaf_hash,
    metrics_hash,
    reward_leaf_hash,
    rule_hash,
    score_leaf_hash,
    signature_hash,
)
from coordinator.protocol.commitments.parameter_tree import ChunkProof, TreeLayout, parameter_root
from coordinator.protocol.commitments.standard_tree import StandardTree
from coordinator.protocol.disputes import DisputedRound
from coordinator.protocol.disputes.fault import EXAMPLES_SCORING
from coordinator.protocol.round.chain_round import ChainRound, RoundStatus
from coordinator.protocol.round.result import build_entries
from coordinator.protocol.signatures.eip712 import sign_statement
from coordinator.protocol.types import (
    Address,
    ContributorEntry,
    RewardLeaf,
    RoundId,
    Rule,
    ScoreLeaf,
    Signed,
    UpdateMessage,
    Wei,
    address_bytes,
)

DEPOSIT_WEI: Final = Wei(10**15)
DIMENSION: Final = 1_000_000
_ANSWER_S: Final = 1_000
_STAKE: Final = Wei(10**15)
_BUDGET: Final = Wei(10**18)
_DISTINCT: Final = 4
_BATCH: Final = 200


def _account(name: str) -> LocalAccount:
    account: LocalAccount = Account.from_key(keccak(text=f"dispute {name}"))
    return account


class DisputeBench:
    """A settled round of ``n`` contributors with a fault of every kind.

    ``places`` has the index of each fault. The updates are a few different vectors, so that memory
    does not grow with ``n``; every contributor signs its own statement.

    Parameters
    ----------
    padded
        Whether the new model's last chunk has a value after the last parameter. No other chunk of
        it can be proven then, since its published tree differs.
    """

    parameter = 0  # in the first chunk, whose proof is as long as any

    def __init__(self, n: int, *, padded: bool = False) -> None:
        self.n = n
        self._padded = padded
        self.rule = self.make_rule()
        self.coordinator, self.watcher = _account("coordinator"), _account("watcher")
        members = [_account(f"member {i}") for i in range(n + 1)]
        members.sort(key=lambda account: address_bytes(account.address))
        # One of them takes no part.
        self._idle = members.pop(n // 2)
        self._members = members
        self.places: dict[str, int] = {}
        self._layout = TreeLayout(self.rule.manifest_hash, self.rule.chunk_values, DIMENSION)
        rng = np.random.default_rng(1)
        self._base = rng.integers(-(2**20), 2**20, DIMENSION).astype(np.int32)
        shape = (_DISTINCT, DIMENSION)
        self._updates = list(rng.integers(-(2**16), 2**16, shape).astype(np.int32))
        self._deploy()
        self.round = self._commit()

    @staticmethod
    def make_rule() -> Rule:
        """FedAvg of a million parameters in chunks of 256, scored by examples."""
        return Rule(
            version=1,
            kind=1,
            weighting=1,
            num_byzantine=0,
            examples_cap=10_000,
            server_lr_q16=1 << 16,
            server_momentum_q16=0,
            manifest_hash=keccak(text="manifest"),
            dimension=DIMENSION,
            chunk_values=256,
            scale_bits=20,
            min_contributors=1 << 24,  # more than take part, so that the rule is broken too
            norm_bound_q=0,
            scoring_hash=EXAMPLES_SCORING,
        )

    # The chain ---------------------------------------------------------------------------

    def _deploy(self) -> None:
        accounts = [self.coordinator, self.watcher, self._idle, *self._members]
        alloc = {Address(account.address): Wei(10**21) for account in accounts}
        self.node = EmbeddedNode.create_or_open(None, GenesisConfig(alloc=alloc))
        terms = Terms(
            coordinator=Address(self.coordinator.address),
            initial_model_root=parameter_root(self._base, self._layout),
            config_digest=bytes(32),
            min_stake_wei=_STAKE,
            min_coordinator_bond_wei=_STAKE,
            round_budget_wei=_BUDGET,
            min_contributors=2,
            min_open_s=0,
            challenge_window_s=10_000,
            unbonding_period_s=1_000_000,
            contributor_slash_bps=5_000,
            coordinator_slash_bps=5_000,
        )
        w3 = Web3(EmbeddedProvider(Dispatcher(self.node)))
        self.federation = Federation.deploy(w3, self.coordinator, terms)
        self.referee = Referee.deploy(
            w3,
            self.coordinator,
            self.federation.address,
            deposit_wei=DEPOSIT_WEI,
            answer_s=_ANSWER_S,
            transactor=self.federation.transactor,
        )
        self._send(self.coordinator, calls.set_referee(self.referee.address))
        self._send(self.coordinator, calls.bond_coordinator(_STAKE))
        self._send(self.watcher, calls.fund(Wei(10 * _BUDGET)))
        joins = [(member, calls.join(_STAKE)) for member in (*self._members, self._idle)]
        for start in range(0, len(joins), _BATCH):
            batch = self.federation.prepare_all(joins[start : start + _BATCH])
            self.federation.send_batch(batch)

    def _send(self, account: LocalAccount, call: Call) -> None:
        self.federation.transact(account, call)

    def cost(self, account: LocalAccount, call: Call) -> tuple[int, int]:
        """Send a call to the referee; return its gas and the bytes of its transaction."""
        signed = self.referee.prepare(account, call)
        return self.referee.transactor.send(signed).gas_used, len(signed.raw)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Undo all transactions of the ``with`` block."""
        snapshot = self.node.snapshot()
        yield
        self.node.revert(snapshot)
        self.referee.transactor.forget_nonces()

    def wait(self) -> None:
        """Advance chain time past the deadline of an answer."""
        self.node.mine(timestamp=self.node.head.timestamp + _ANSWER_S)

    def close(self) -> None:
        """Release the memory."""
        self.node.close()

    # The round ---------------------------------------------------------------------------

    def _commit(self) -> DisputedRound:
        entries = self._entries()
        scores = [ScoreLeaf(RoundId(1), e.leaf.contributor, e.leaf.examples) for e in entries]
        total_score = sum(leaf.score for leaf in scores)
        names = [Address(a.address) for a in (*self._members, self._idle)]
        rewards = [RewardLeaf(who, Wei(1)) for who in names]
        idle = [leaf.contributor for leaf in rewards].index(names[-1])
        self.places |= {"idle reward": idle, "reward": 1 if idle == 0 else 0}
        self.places["outsider"] = len(rewards)
        rewards.append(RewardLeaf(Address(self.watcher.address), _BUDGET))
        self.places |= {
            "score": 1,
            "second score": self.n,
            "stray score": self.n + 1,
            "score form": self.n + 2,
        }
        scores[1] = replace(scores[1], score=0)
        scores.append(replace(scores[0], score=0))
        scores.append(ScoreLeaf(RoundId(1), names[-1], 5))
        scores.append(ScoreLeaf(RoundId(2), names[0], 5))
        committed = self._commitments(entries, scores, rewards, total_score)
        round_ = DisputedRound(
            committed=committed,
            parent=None,
            domain=self.federation.domain,
            min_stake_wei=_STAKE,
            members=names,
            bonds=dict.fromkeys(names, _STAKE),
            rule=self.rule,
            entries=entries,
            updates=[self._updates[i % _DISTINCT] for i in range(self.n)],
            base_model=self._base,
            new_model=self._new_model,
            scores=scores,
            rewards=rewards,
            parent_rewards=(),
        )
        self._play(committed)
        return round_

    @property
    def _new_model(self) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
        # Differs from the base model by far more than any mean of the updates.
        return self._base + np.int32(2**20)

    def padded_model(self) -> tuple[bytes, ChunkProof]:
        """Return root and last chunk of the new model with a value after its last parameter."""
        return padded_tree(self._new_model, self._layout, 1)

    def _entries(self) -> list[ContributorEntry]:
        base_root = parameter_root(self._base, self._layout)
        roots = [parameter_root(update, self._layout) for update in self._updates]
        signed: dict[Address, Signed[UpdateMessage]] = {}
        metrics = {}
        for i, member in enumerate(self._members):
            who = Address(member.address)
            metrics[who] = {"loss": i}
            message = UpdateMessage(
                RoundId(1), base_root, roots[i % _DISTINCT], 100 + i % 7, metrics_hash(metrics[who])
            )
            signed[who] = sign_statement(self.federation.domain, message, bytes(member.key))
        stakes = dict.fromkeys(signed, _STAKE)
        entries = build_entries(RoundId(1), signed, metrics, stakes, self.rule)
        self._spoil(entries)
        return entries

    def _spoil(self, entries: list[ContributorEntry]) -> None:
        self.places |= {"leaf": 2, "signature": 3, "pair": 4}
        entries[2] = replace(entries[2], leaf=replace(entries[2].leaf, stake_wei=Wei(1)))
        forged = signature_hash(metrics_hash(entries[3].metrics), bytes(65))
        leaf = replace(entries[3].leaf, signature_hash=forged)
        entries[3] = replace(entries[3], leaf=leaf, signature=bytes(65))
        leaf = replace(entries[5].leaf, contributor=entries[4].leaf.contributor)
        entries[5] = replace(entries[5], leaf=leaf)

    def _commitments(
        self,
        entries: list[ContributorEntry],
        scores: list[ScoreLeaf],
        rewards: list[RewardLeaf],
        total_score: int,
    ) -> ChainRound:
        return ChainRound(
            round_id=RoundId(1),
            status=RoundStatus.SETTLED,
            model_root=parameter_root(self._base, self._layout),
            rule_hash=rule_hash(self.rule),
            member_count=self.n + 1,
            budget_wei=_BUDGET,
            contributors_root=StandardTree([contributor_leaf_hash(e.leaf) for e in entries]).root,
            n=self.n,
            total_examples=sum(entry.leaf.examples for entry in entries),
            total_stake_wei=Wei(self.n * _STAKE),
            new_model_root=(
                self.padded_model()[0]
                if self._padded
                else parameter_root(self._new_model, self._layout)
            ),
            settled_at=1,
            scores_root=StandardTree([score_leaf_hash(leaf) for leaf in scores]).root,
            total_score=total_score,
            rewards_root=StandardTree([reward_leaf_hash(leaf) for leaf in rewards]).root,
            paid_wei=_BUDGET,
        )

    def _play(self, committed: ChainRound) -> None:
        deadline = self.node.head.timestamp + 10_000
        number, digest = committed.round_id, committed.rule_hash
        opening = calls.open_round(number, committed.model_root, digest, deadline)
        self._send(self.coordinator, opening)
        seal = calls.seal_round(number, committed.seal)
        self._send(self.coordinator, seal)
        settle = calls.settle_round(number, committed.settlement)
        self._send(self.coordinator, settle)
