"""What the round service signs for participants: one instruction a phase, whatever happens."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from service_bench import Bench, rule, vector

from coordinator.protocol.errors import LedgerError, PhaseError, StoreError
from coordinator.protocol.instructions import content_hash, reveal_content, verify_instruction
from coordinator.protocol.types import RoundId
from coordinator.service.round_service import RoundService
from coordinator.stores.instructions import InstructionFolder

CONTENT = {"config": {"lr": 0.1}}
FIRST = RoundId(1)


def folder(path: Path) -> InstructionFolder:
    return InstructionFolder(path / "instructions", whole=True)


def sealed_round(bench: Bench, service: RoundService) -> None:
    announced = service.open_round()
    for client in range(2):
        service.submit(*bench.signed(client, announced, vector(1)))


def test_it_says_what_the_chain_says_and_anybody_can_tell_who_signed(bench: Bench) -> None:
    service = bench.service(rule())
    announced = service.open_round()
    told = service.sign_instruction(FIRST, "train", CONTENT)
    statement = told.signed.statement
    assert (statement.round_id, statement.phase) == (announced.round_id, 1)
    assert statement.base_model == announced.model_root
    assert statement.rule_hash == announced.rule_hash
    assert statement.deadline == bench.ledger.round(announced.round_id).deadline
    assert statement.content == content_hash(CONTENT)
    verify_instruction(told)


def test_an_evaluation_is_of_the_model_that_the_round_ended_with(bench: Bench) -> None:
    service = bench.service(rule())
    sealed_round(bench, service)
    with pytest.raises(PhaseError, match="round 1 is open: nothing to evaluate"):
        service.sign_instruction(FIRST, "evaluate", CONTENT)
    outcome = service.close_round()
    with pytest.raises(PhaseError, match="nothing to train"):
        service.sign_instruction(FIRST, "train", CONTENT)
    told = service.sign_instruction(FIRST, "evaluate", CONTENT)
    assert told.signed.statement.base_model == outcome.model_root
    assert told.slot.phase == "evaluate"
    # also by a process that did not run the round, and while the next one is open
    later = bench.service(rule())
    later.open_round()
    assert later.sign_instruction(FIRST, "evaluate", CONTENT) == told


def test_a_void_rounds_evaluation_is_of_the_model_it_opened_on(bench: Bench) -> None:
    service = bench.service(rule())
    announced = service.open_round()
    assert service.close_round().status == "void"
    told = service.sign_instruction(FIRST, "evaluate", CONTENT)
    assert told.signed.statement.base_model == announced.model_root


def test_nothing_is_signed_before_a_round_is_open(bench: Bench) -> None:
    with pytest.raises(PhaseError, match="round 1 is none: nothing to train"):
        bench.service(rule()).sign_instruction(FIRST, "train", CONTENT)


def test_after_a_crash_the_first_is_signed_again_whatever_is_asked_for(
    make_bench: Callable[[], Bench], tmp_path: Path
) -> None:
    service = make_bench().service(rule(), instructions=folder(tmp_path))
    service.open_round()
    first = service.sign_instruction(FIRST, "train", CONTENT)
    assert list(folder(tmp_path).everything()) == [first]
    service = make_bench().service(rule(), instructions=folder(tmp_path))
    service.open_round()
    assert service.sign_instruction(FIRST, "train", {"config": {"lr": 0.2}}) == first
    assert list(folder(tmp_path).everything()) == [first]


def test_without_a_memory_the_same_settings_give_the_same_bytes(
    make_bench: Callable[[], Bench],
) -> None:
    told = []
    for _ in range(2):
        service = make_bench().service(rule())
        service.open_round()
        told.append(service.sign_instruction(FIRST, "train", CONTENT))
    assert told[0] == told[1]


def test_a_round_that_the_chain_has_replaced_gets_no_second_instruction(
    bench: Bench, tmp_path: Path
) -> None:
    """Opened again after a reorganisation, with another deadline: it has to run out."""
    service = bench.service(rule(), instructions=folder(tmp_path))
    service.open_round()
    now = service.sign_instruction(FIRST, "train", CONTENT)
    statement = replace(now.signed.statement, deadline=now.signed.statement.deadline - 1)
    before = replace(now, signed=bench.ledger.sign_instruction(statement))
    kept = folder(tmp_path / "other")
    kept.keep(before)
    service = bench.service(rule(), instructions=kept)
    service.open_round()
    with pytest.raises(LedgerError) as refused:
        service.sign_instruction(FIRST, "train", CONTENT)
    assert f"(deadline {statement.deadline} became {statement.deadline + 1})" in str(refused.value)
    assert list(kept.everything()) == [before]


def test_commitments_that_the_chain_has_replaced_are_not_asked_to_be_revealed(
    bench: Bench, tmp_path: Path
) -> None:
    service = bench.service(rule(), sealed=True, instructions=folder(tmp_path))
    service.open_round()
    first = service.sign_instruction(FIRST, "reveal", reveal_content(b"one"))
    assert service.sign_instruction(FIRST, "reveal", reveal_content(b"one")) == first
    with pytest.raises(LedgerError, match=r"another reveal instruction .*content\.commitments"):
        service.sign_instruction(FIRST, "reveal", reveal_content(b"other"))


def test_what_cannot_be_kept_is_not_handed_out(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "instructions").write_text("in the way")
    service = bench.service(rule(), instructions=folder(tmp_path))
    service.open_round()
    with pytest.raises(StoreError, match="the instruction cannot be kept"):
        service.sign_instruction(FIRST, "train", CONTENT)
