"""Killed between a round's end on the ledger and the note of it: the run still goes on."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gavel_bench import DisputedBench, GavelBench
from memory_ledger import MemoryLedger
from service_bench import Bench, round_status, rule, vector

from coordinator.protocol.errors import BlobCorruptError, BlobMissingError, ContributorError
from coordinator.protocol.round.chain_round import RoundStatus
from coordinator.protocol.types import RoundId
from coordinator.stores.run_folder import FileJournal
from simulations.report.records import RoundRecord
from simulations.run.round_records import RoundRecorder

LATE = "deadline passed"


class Killed(BaseException):
    pass


def killed(*_: object, **__: object) -> None:
    raise Killed


def killed_after(deed: Callable[..., object]) -> Callable[..., None]:
    def then(*arguments: object, **named: object) -> None:
        deed(*arguments, **named)
        raise Killed

    return then


def record_of(bench: Bench, number: int) -> RoundRecord:
    """What the books of a resumed run say of a void round; they need no more of the run."""
    chain: Any = SimpleNamespace(ledger=bench.ledger)
    keeper = RoundRecorder(rule(), [], chain, bench.store, bench.journal, {}, lambda _: None)
    return keeper.round_record(RoundId(number), 0.0)


def pass_deadline(bench: DisputedBench, number: int) -> None:
    deadline = bench.ledger.round(RoundId(number)).deadline
    if isinstance(bench, GavelBench):
        assert bench.federation is not None
        bench.federation.rpc.request("evm_setNextBlockTimestamp", hex(deadline))
    else:
        assert isinstance(bench.ledger, MemoryLedger)
        bench.ledger.time = deadline


def open_one(bench: Bench) -> None:
    service = bench.service(rule())
    service.submit(*bench.signed(0, service.open_round(), vector(1)))


def test_a_proven_fraud_without_a_note_is_told_as_the_chain_has_it(
    disputed: DisputedBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = disputed.service(rule())
    for number in (1, 2, 3):
        announced = service.open_round()
        for client in range(3):
            service.submit(*disputed.signed(client, announced, vector(number)))
        if number < 3:
            service.close_round()
    disputed.convict(2, "wrong aggregate")
    with monkeypatch.context() as patch:
        patch.setattr(disputed.journal, "put", killed)
        with pytest.raises(Killed):
            service.close_round()
    assert round_status(disputed, 3) == "void"
    with pytest.raises(BlobMissingError):
        disputed.journal.get(RoundId(3))
    assert disputed.service(rule()).open_round().round_id == 4
    record = record_of(disputed, 3)
    assert (record.status, record.refused) == ("void", 0)
    assert record.reason == "stands on round 2: wrong aggregate"


@pytest.mark.parametrize("noted", [False, True])
def test_a_late_round_is_noted_before_it_is_void(
    disputed: DisputedBench, monkeypatch: pytest.MonkeyPatch, noted: bool
) -> None:
    """Whatever was refused in it before the kill, if it was noted, is still told."""
    open_one(disputed)
    refusals = [{"sender": "x", "code": "wrong-round", "message": "y"}] if noted else []
    if noted:
        disputed.journal.put(RoundId(1), {"reason": "", "refusals": refusals})
    pass_deadline(disputed, 1)
    honest = disputed.ledger.void_round
    with monkeypatch.context() as patch:
        patch.setattr(disputed.ledger, "void_round", killed_after(honest))
        with pytest.raises(Killed):
            disputed.service(rule()).open_round()
    assert disputed.service(rule()).open_round().round_id == 2
    record = record_of(disputed, 1)
    assert (record.status, record.reason, record.refused) == ("void", LATE, len(refusals))


def test_a_round_whose_seal_comes_too_late_is_noted_before_it_is_void(
    disputed: DisputedBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = disputed.service(rule())
    announced = service.open_round()
    for client in range(3):
        service.submit(*disputed.signed(client, announced, vector(1)))
    wrong = disputed.signed(3, announced, vector(1), round_id=RoundId(99))
    with pytest.raises(ContributorError):
        service.submit(*wrong)
    honest = disputed.ledger.void_round
    pass_deadline(disputed, 1)
    with monkeypatch.context() as patch:
        patch.setattr(disputed.ledger, "void_round", killed_after(honest))
        with pytest.raises(Killed):
            service.close_round()
    record = record_of(disputed, 1)
    assert (record.status, record.reason, record.refused) == ("void", LATE, 1)


def test_only_a_void_round_may_lack_its_note(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    keeper = RoundRecorder.__new__(RoundRecorder)
    keeper._journal = journal
    assert keeper._notes(RoundId(1), RoundStatus.VOID) == {"reason": "", "refusals": []}
    with pytest.raises(BlobMissingError, match=r"000001.json: missing"):
        keeper._notes(RoundId(1), RoundStatus.FINAL)
    for text in ("{", "[]"):
        (tmp_path / "000001.json").write_text(text)
        with pytest.raises(BlobCorruptError, match=r"000001.json"):
            keeper._notes(RoundId(1), RoundStatus.VOID)
