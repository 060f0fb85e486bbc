"""Rebuilds what the federation's views show from its events alone (invariant 18)."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from contracts.binding import events as ev
from contracts.binding.records import AccountState, HeadState, Terms
from coordinator.protocol.round.chain_round import ChainRound, RoundStatus

ZERO = "0x" + "00" * 20
EMPTY = bytes(32)


@dataclass
class Replay:
    """The state after the events seen so far."""

    terms: Terms | None = None
    members: list[str] = field(default_factory=list)
    bond: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    history: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    unbonding: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    matures_at: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    credit: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    claimed: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    slashed: set[tuple[int, str]] = field(default_factory=set)
    rounds: dict[int, dict[str, Any]] = field(default_factory=dict)
    at_height: dict[int, int] = field(default_factory=dict)
    abandoned: set[int] = field(default_factory=set)
    head_height: int = 0
    final_height: int = 0
    pool: int = 0
    reserve: int = 0
    rewards_root: bytes = EMPTY
    referee: str = ZERO

    def play(self, seen: Iterable[ev.FederationEvent]) -> "Replay":
        for event in seen:
            getattr(self, f"_{type(event).__name__}")(event)
        return self

    # One method an event -----------------------------------------------------------------

    def _FederationCreated(self, e: ev.FederationCreated) -> None:
        self.terms = e.terms

    def _set_bond(self, who: str, bond: int) -> None:
        """Checkpoints are dated by the next round to open."""
        self.bond[who] = bond
        history, following = self.history[who], len(self.rounds) + 1
        if history and history[-1][0] == following:
            history.pop()
        history.append((following, bond))

    def _Joined(self, e: ev.Joined) -> None:
        if e.index > len(self.members):
            self.members.append(e.account)
        self._set_bond(e.account, e.bond)

    def _CoordinatorBonded(self, e: ev.CoordinatorBonded) -> None:
        self._set_bond(e.account, e.bond)

    def _Left(self, e: ev.Left) -> None:
        self._set_bond(e.account, 0)
        self.unbonding[e.account], self.matures_at[e.account] = e.unbonding, e.matures_at

    def _Withdrawn(self, e: ev.Withdrawn) -> None:
        self.unbonding[e.account] = self.matures_at[e.account] = 0

    def _Slashed(self, e: ev.Slashed) -> None:
        if self.bond[e.account] != e.bond:
            self._set_bond(e.account, e.bond)
        self.unbonding[e.account] = e.unbonding
        self.credit[e.prover] += e.bounty
        if e.offence.rstrip(b"\0") == b"equivocation":
            self.slashed.add((e.round, e.account))

    def _Collected(self, e: ev.Collected) -> None:
        self.credit[e.account] -= e.amount

    def _PoolFunded(self, e: ev.PoolFunded) -> None:
        self.pool = e.pool

    def _Claimed(self, e: ev.Claimed) -> None:
        self.claimed[e.account] = e.cumulative
        self.reserve -= e.amount

    def _RoundOpened(self, e: ev.RoundOpened) -> None:
        self.rounds[e.round] = {
            "model_root": e.model_root,
            "rule_hash": e.rule_hash,
            "opened_at": e.opened_at,
            "deadline": e.deadline,
            "parent": e.parent,
            "height": e.height,
            "member_count": e.member_count,
            "budget_wei": e.budget,
            "pledged_cum_wei": e.pledged_cum,
        }

    def _UpdatesCommitted(self, e: ev.UpdatesCommitted) -> None:
        committed = {"commitments_root": e.commitments_root, "commitments_count": e.count}
        self.rounds[e.round].update(committed)

    def _RoundSealed(self, e: ev.RoundSealed) -> None:
        self.rounds[e.round].update(
            contributors_root=e.contributors_root,
            n=e.n,
            total_examples=e.total_examples,
            total_stake_wei=e.total_stake,
            new_model_root=e.new_model_root,
            sealed_at=e.sealed_at,
            seal_block=e.sealed_block,
        )
        self.head_height = self.rounds[e.round]["height"]
        self.at_height[self.head_height] = e.round

    def _RoundSettled(self, e: ev.RoundSettled) -> None:
        self.rounds[e.round].update(
            scores_root=e.scores_root,
            total_score=e.total_score,
            rewards_root=e.rewards_root,
            paid_wei=e.paid,
            settled_at=e.settled_at,
        )

    def _RoundFinalized(self, e: ev.RoundFinalized) -> None:
        self.final_height = self.rounds[e.round]["height"]
        self.rewards_root = e.rewards_root
        self.pool -= e.paid
        self.reserve += e.paid

    def _RoundHeld(self, e: ev.RoundHeld) -> None:
        self.rounds[e.round]["held_until"] = e.until

    def _RoundVoided(self, e: ev.RoundVoided) -> None:
        self.head_height = e.head_height
        last = len(self.rounds)
        if not self.rounds[last].get("sealed_at"):
            self.abandoned.add(last)

    def _RefereeSet(self, e: ev.RefereeSet) -> None:
        self.referee = e.referee

    # What the views would show -----------------------------------------------------------

    def account(self, who: str) -> AccountState:
        index = self.members.index(who) + 1 if who in self.members else 0
        return AccountState(
            index,
            self.bond[who],
            self.unbonding[who],
            self.matures_at[who],
            self.credit[who],
            self.claimed[who],
        )

    def status(self, number: int) -> RoundStatus:
        values = self.rounds.get(number)
        if values is None:
            return RoundStatus.NONE
        if not values.get("sealed_at"):
            return RoundStatus.VOID if number in self.abandoned else RoundStatus.OPEN
        height = values["height"]
        if height > self.head_height or self.at_height[height] != number:
            return RoundStatus.VOID
        if height <= self.final_height:
            return RoundStatus.FINAL
        return RoundStatus.SETTLED if values.get("settled_at") else RoundStatus.SEALED

    def round(self, number: int) -> ChainRound:
        assert self.terms is not None
        values = self.rounds.get(number, {})
        names = [n for n in ChainRound.__dataclass_fields__ if n not in ("round_id", "status")]
        roots = ("root", "hash")
        filled = {n: values.get(n, EMPTY if n.endswith(roots) else 0) for n in names}
        settled, held = filled["settled_at"], filled["held_until"]
        end = max(settled + self.terms.challenge_window_s, held) if settled else None
        filled["finalizable_at"] = end
        return ChainRound(round_id=number, status=self.status(number), **filled)

    def head(self) -> HeadState:
        assert self.terms is not None
        last = len(self.rounds)
        open_round = last if self.status(last) == RoundStatus.OPEN else 0
        head_round = self.at_height.get(self.head_height, 0) if self.head_height else 0
        final_round = self.at_height.get(self.final_height, 0) if self.final_height else 0
        initial = {"new_model_root": self.terms.initial_model_root, "pledged_cum_wei": 0}
        pledged = self.rounds.get(open_round or head_round, initial)["pledged_cum_wei"]
        return HeadState(
            last_opened=last,
            open_round=open_round,
            height=self.head_height,
            head_round=head_round,
            model_root=self.rounds.get(head_round, initial)["new_model_root"],
            final_height=self.final_height,
            final_round=final_round,
            rewards_root=self.rewards_root,
            pool_wei=self.pool,
            pledged_wei=pledged - self.rounds.get(final_round, initial)["pledged_cum_wei"],
            reserve_wei=self.reserve,
            member_count=len(self.members),
            referee=self.referee,
        )


def assert_events_rebuild(world: Any, accounts: Iterable[str]) -> Replay:
    """Compare everything the views show with a replay from the first block."""
    federation = world.federation
    replay = Replay().play(federation.events())
    assert replay.terms == federation.terms
    assert replay.head() == federation.head()
    assert replay.members == federation.members()
    for who in accounts:
        assert replay.account(who) == federation.account(who)
        assert replay.history[who] == federation.checkpoints(who)
    for number in range(len(replay.rounds) + 2):
        assert replay.round(number) == federation.round(number)
    pairs = {*replay.slashed, *((number, who) for number in (1, 2) for who in accounts)}
    for number, who in pairs:
        assert federation.is_slashed(number, who) == ((number, who) in replay.slashed)
    return replay
