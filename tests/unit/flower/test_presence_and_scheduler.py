"""Who is there, whom they speak for, and when there is a round."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from coordinator.flower import presence as presence_register
from coordinator.flower.driver_server import Beat
from coordinator.flower.presence import PresenceRegister
from coordinator.flower.scheduler import Pace, RoundScheduler
from coordinator.protocol.errors import SignatureError
from coordinator.protocol.round.machine import Phase, RoundState
from coordinator.protocol.signatures.eip712 import address_of_key, sign_statement
from coordinator.protocol.types import Address, Presence, RoundId, Signed, SigningDomain, Wei

DOMAIN = SigningDomain(1337, Address("0x" + "22" * 20))
KEYS = [bytes([n]) * 32 for n in (1, 2, 3)]
ACCOUNTS = [address_of_key(key) for key in KEYS]
NOW = 1_000


@dataclass
class World:
    """A chain's clock and bonds, as far as the roster asks."""

    now: int = NOW
    bonds: dict[Address, Wei] = field(default_factory=lambda: dict.fromkeys(ACCOUNTS, Wei(10)))
    asked: list[Address] = field(default_factory=list)

    def bond_of(self, account: Address) -> Wei:
        self.asked.append(account)
        return self.bonds.get(account, Wei(0))

    def presence_register(self, file: Path | None = None) -> PresenceRegister:
        return PresenceRegister(DOMAIN, Wei(10), self.bond_of, lambda: self.now, file)


def presence(client: int, node: int, expiry: int = NOW + 100) -> Signed[Presence]:
    return sign_statement(DOMAIN, Presence(node, expiry), KEYS[client])


def test_a_node_counts_once_it_has_said_whom_it_speaks_for():
    world = World()
    found = world.presence_register()
    assert found.attendance([7, 5]).strangers == [5, 7]
    assert found.greet(presence(0, 7)) == ACCOUNTS[0]
    seen = found.attendance([5, 7])
    assert (seen.present, seen.strangers, seen.unbonded) == ({7: ACCOUNTS[0]}, [5], [])
    assert found.attendance([5]).present == {}
    assert found.attendance([7]).present == {7: ACCOUNTS[0]}


def test_words_of_others_are_not_taken():
    found = World().presence_register()
    said = presence(0, 7)
    for forged, code in (
        (replace(said, statement=Presence(8, said.statement.expiry)), "wrong-signer"),
        (replace(said, signer=ACCOUNTS[1]), "wrong-signer"),
        (presence(0, 7, expiry=NOW), "expired"),
        (presence(0, 7, expiry=NOW + 10**9), "expires-too-late"),
        (sign_statement(replace(DOMAIN, chain_id=1), Presence(7, NOW + 9), KEYS[0]), None),
    ):
        with pytest.raises(SignatureError) as refused:
            found.greet(forged)
        assert code is None or refused.value.code == code
    assert found.attendance([7]).strangers == [7]


def test_a_statement_ends_and_the_node_is_asked_again():
    world = World()
    found = world.presence_register()
    found.greet(presence(0, 7, expiry=NOW + 5))
    world.now = NOW + 4
    assert found.attendance([7]).present == {7: ACCOUNTS[0]}
    world.now = NOW + 5
    assert found.attendance([7]).strangers == [7]


def test_an_account_speaks_through_one_node():
    found = World().presence_register()
    found.greet(presence(0, 7))
    found.greet(presence(0, 8))
    seen = found.attendance([7, 8])
    assert (seen.present, seen.strangers) == ({8: ACCOUNTS[0]}, [7])


def test_without_a_bond_one_is_there_but_does_not_count(monkeypatch: pytest.MonkeyPatch):
    world = World()
    world.bonds[ACCOUNTS[0]] = Wei(9)
    found = world.presence_register()
    found.greet(presence(0, 7))
    assert found.attendance([7]).unbonded == [ACCOUNTS[0]]
    world.bonds[ACCOUNTS[0]] = Wei(10)
    assert found.attendance([7]).unbonded == [ACCOUNTS[0]]  # known for a few seconds
    assert world.asked == [ACCOUNTS[0]]
    monkeypatch.setattr(presence_register, "_BOND_AGE_S", 0.0)
    assert found.attendance([7]).present == {7: ACCOUNTS[0]}


def test_what_was_said_holds_over_a_restart_as_long_as_it_is_true(tmp_path: Path):
    world, file = World(), tmp_path / "roster.json"
    world.presence_register(file).greet(presence(0, 7, expiry=NOW + 5))
    found = world.presence_register(file)
    found.greet(presence(1, 8, expiry=NOW + 50))
    assert found.attendance([7, 8]).present == {7: ACCOUNTS[0], 8: ACCOUNTS[1]}
    world.now = NOW + 5
    assert world.presence_register(file).attendance([7, 8]).present == {8: ACCOUNTS[1]}
    forged = file.read_text().replace(ACCOUNTS[1], ACCOUNTS[2])
    file.write_text(forged)
    assert world.presence_register(file).attendance([8]).strangers == [8]
    file.write_text("{")
    assert world.presence_register(file).attendance([8]).strangers == [8]
    file.write_text("7")
    assert world.presence_register(file).attendance([8]).strangers == [8]


@dataclass
class Service:
    state: RoundState = field(default_factory=lambda: RoundState(RoundId(0), 2, Phase.VOID))


@dataclass
class Ledger:
    """Head, heights and a clock that moves by itself when asked."""

    time: int = NOW
    tick: int = 0
    height: int = 0
    opened_at: int = NOW

    def now(self) -> int:
        self.time += self.tick
        return self.time

    def head(self):
        return type("Head", (), {"last_sealed": RoundId(self.height)})()

    def round(self, round_id: RoundId):
        return type("Round", (), {"height": self.height, "opened_at": self.opened_at})()


@dataclass
class Stage:
    """A conductor and all it looks at."""

    pace: Pace = Pace(min_online=2, rounds=3, seal_margin_s=5.0, min_open_s=10)
    world: World = field(default_factory=World)
    ledger: Ledger = field(default_factory=Ledger)
    service: Service = field(default_factory=Service)
    stopping: bool = False

    def scheduler(self) -> RoundScheduler:
        return RoundScheduler(
            self.ledger,
            self.service,
            self.world.presence_register(),
            self.pace,
            lambda: self.stopping,
        )


def test_a_round_waits_for_enough_bonded_contributors():
    stage = Stage()
    scheduler = stage.scheduler()
    assert scheduler.beat([7, 8]) == Beat(False, (), [7, 8])
    scheduler.greet(presence(0, 7))
    assert scheduler.beat([7, 8]) == Beat(False, (), [8])
    scheduler.greet(presence(1, 8))
    assert scheduler.beat([8, 7]) == Beat(False, [7, 8], [])
    assert set(scheduler.attendance.present.values()) == set(ACCOUNTS[:2])
    assert scheduler.beat([8]) == Beat(False, (), [])


def test_while_a_round_is_open_the_chains_clock_runs():
    stage = Stage()
    scheduler = stage.scheduler()
    for phase in (Phase.GATHERING, Phase.COLLECTING):
        stage.service.state = RoundState(RoundId(1), 2, phase, deadline=NOW + 60)
        assert scheduler.beat([]).seconds_left == 55.0
    stage.ledger.time = NOW + 58
    assert scheduler.beat([]).seconds_left == 0.0
    stage.service.state = RoundState(RoundId(1), 2, Phase.SETTLED, deadline=NOW + 60)
    assert scheduler.beat([]) == Beat(False, (), [])


def test_it_ends_when_all_rounds_are_sealed_and_without_a_number_never():
    stage = Stage()
    stage.ledger.height = 2
    assert not stage.scheduler().beat([]).complete
    stage.ledger.height = 3
    assert stage.scheduler().beat([]).complete
    endless = Stage(pace=replace(Stage().pace, rounds=0))
    endless.ledger.height = 3
    assert not endless.scheduler().beat([]).complete


def test_whether_there_are_rounds_to_run_is_worked_out_once_a_block():
    stage = Stage()
    stage.ledger.height = 2
    scheduler = stage.scheduler()
    assert scheduler.wants_rounds(block=7)
    stage.ledger.height = 3
    assert scheduler.wants_rounds(block=7)
    assert not scheduler.wants_rounds(block=8)
    stage.ledger.height = 2  # a round was voided, in a block
    assert not scheduler.wants_rounds(block=8)
    assert scheduler.wants_rounds(block=9)


def test_a_round_is_not_closed_before_the_contract_allows_it():
    stage = Stage(ledger=Ledger(time=NOW, tick=4, opened_at=NOW))
    stage.scheduler().wait_until_sealable()
    assert stage.ledger.time == NOW + 12
    stage.ledger.tick, stage.ledger.time, stage.stopping = 0, NOW, True
    stage.scheduler().wait_until_sealable()
    assert stage.ledger.time == NOW
