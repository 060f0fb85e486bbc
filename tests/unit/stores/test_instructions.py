"""Instructions on disk: durable, two at most of a kind, and what differs is never lost."""

import multiprocessing
import stat
from pathlib import Path

import pytest

from coordinator.protocol.canonical import canonical_json
from coordinator.protocol.errors import StoreError
from coordinator.protocol.instructions import (
    MOST_CONTENT_BYTES,
    TRAIN,
    content_hash,
    contract_of,
    instruction_json,
    phase_number,
)
from coordinator.protocol.signatures.eip712 import address_of_key, sign_statement
from coordinator.protocol.types import RoundId, RoundInstruction, SignedInstruction, SigningDomain
from coordinator.stores.instructions import KEPT_ROUNDS, InstructionFolder, MemoryInstructions

KEY = bytes(31) + b"\x2a"
DOMAIN = SigningDomain(1337, contract_of(address_of_key(KEY)))


def told(
    round_id: int = 1,
    deadline: int = 9,
    phase: str = TRAIN,
    chain_id: int = 1337,
    content: dict | None = None,
) -> SignedInstruction:
    content = {"config": {}} if content is None else content
    domain = SigningDomain(chain_id, DOMAIN.verifying_contract)
    statement = RoundInstruction(
        RoundId(round_id),
        phase_number(phase),
        b"\1" * 32,
        b"\2" * 32,
        deadline,
        content_hash(content),
    )
    return SignedInstruction(domain, sign_statement(domain, statement, KEY), content)


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_the_first_stays_first_and_a_third_is_not_kept(kind, tmp_path):
    store = MemoryInstructions() if kind == "memory" else InstructionFolder(tmp_path / "i")
    assert store.of(told().slot) == ()
    assert list(store.keep(told())) == [told()]
    assert list(store.keep(told())) == [told()]
    assert list(store.keep(told(deadline=10))) == [told(), told(deadline=10)]
    assert list(store.keep(told(deadline=11))) == [told(), told(deadline=10)]
    assert list(store.of(told().slot)) == [told(), told(deadline=10)]
    assert list(store.keep(told(phase="evaluate"))) == [told(phase="evaluate")]


def test_a_folder_keeps_rounds_phases_and_federations_apart_and_only_its_owner_reads(tmp_path):
    root = tmp_path / "state" / "i"
    kept = [told(), told(2), told(phase="evaluate"), told(phase="reveal"), told(chain_id=5)]
    for one in kept:
        InstructionFolder(root).keep(one)
    found = list(InstructionFolder(root).everything())
    assert len(found) == len(list(root.iterdir())) == 5
    assert all(one in found for one in kept)
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in root.iterdir()} == {0o600}


def test_what_differs_is_known_at_once_and_after_a_restart(tmp_path):
    store = InstructionFolder(tmp_path)
    assert store.differing() == []
    store.keep(told(3))
    store.keep(told(2))
    store.keep(told(2, deadline=10))
    assert store.differing() == [(2, "train")] == InstructionFolder(tmp_path).differing()


def test_a_line_that_a_crash_cut_short_was_never_kept(tmp_path):
    InstructionFolder(tmp_path).keep(told())
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for end in (0, 1, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:end])
        assert list(InstructionFolder(tmp_path).of(told().slot)) == []
        assert list(InstructionFolder(tmp_path).keep(told(deadline=10))) == [told(deadline=10)]
        assert list(InstructionFolder(tmp_path).everything()) == [told(deadline=10)]


def test_a_damaged_file_is_named_and_other_rounds_go_on(tmp_path):
    InstructionFolder(tmp_path).keep(told())
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes().replace(b'"deadline":9', b'"deadline":"9"'))
    store = InstructionFolder(tmp_path)
    for use in (store.keep, lambda one: store.of(one.slot), lambda _: list(store.everything())):
        with pytest.raises(StoreError, match=r"train-[0-9a-f]{16}\.jsonl: line 1: deadline: found"):
            use(told())
    assert list(store.keep(told(2))) == [told(2)]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "i").write_text("")
    with pytest.raises(StoreError, match="the instruction cannot be kept: File exists"):
        InstructionFolder(tmp_path / "i").keep(told())


def test_old_rounds_go_but_never_what_differs(tmp_path):
    store = InstructionFolder(tmp_path)
    for one in (told(1), told(2), told(2, deadline=10), told(3)):
        store.keep(one)
    for round_id in (1, 2):
        store.keep(told(round_id + KEPT_ROUNDS))
    rounds = [one.slot.round_id for one in store.everything()]
    assert rounds == [2, 2, 3, 1 + KEPT_ROUNDS, 2 + KEPT_ROUNDS]
    assert store.differing() == [(2, "train")]


def test_a_coordinator_cannot_fill_a_participants_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("coordinator.stores.instructions.MOST_BYTES", 3_000)
    store = InstructionFolder(tmp_path / "i")
    length = len(canonical_json(instruction_json(told(10_007)))) + 1
    fits = 3_000 // length
    assert fits >= 2
    for number in range(1, fits + 1):
        store.keep(told(number * 10_007))
    with pytest.raises(StoreError, match="expected at most 3000: the coordinator signs for rounds"):
        store.keep(told((fits + 1) * 10_007))
    assert sum(file.stat().st_size for file in (tmp_path / "i").iterdir()) <= 3_000
    assert list(store.keep(told(10_007))) == [told(10_007)]  # what is kept is answered still
    with pytest.raises(StoreError, match="expected at most 3000"):  # after a restart, too
        InstructionFolder(tmp_path / "i").keep(told(5))
    for file in sorted((tmp_path / "i").iterdir())[1:]:
        file.unlink()
    assert list(store.keep(told(5))) == [told(5)]
    own = InstructionFolder(tmp_path / "own", whole=True)
    for number in range(1, 20):
        own.keep(told(number))


def test_a_long_content_is_kept_by_its_digest_where_it_is_not_to_be_sent_again(tmp_path):
    long = told(content={"config": {"text": "x" * MOST_CONTENT_BYTES}})
    (kept,) = InstructionFolder(tmp_path / "participant").keep(long)
    assert (kept.signed, kept.content) == (long.signed, None)
    assert list(InstructionFolder(tmp_path / "participant").keep(long)) == [kept]
    assert list(InstructionFolder(tmp_path / "coordinator", whole=True).keep(long)) == [long]


def _keep_some(root: Path, first: int) -> None:
    for deadline in range(first, first + 5):
        InstructionFolder(root).keep(told(deadline=deadline))


def test_processes_that_share_a_folder_keep_two(tmp_path):
    """Flower starts a process for each message."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_keep_some, args=(tmp_path, n)) for n in (10, 20, 30)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    kept = list(InstructionFolder(tmp_path).everything())
    assert len(kept) == 2
    assert kept[0] != kept[1]
