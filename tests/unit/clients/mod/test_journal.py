"""Signature journals: an equal repeat is fine, a second different update never is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from flwr.app import Context, RecordDict

from clients.mod.context_journal import ContextJournal
from clients.mod.journal import FileJournal, MemoryJournal
from coordinator.protocol.errors import ContributorError, StoreError
from coordinator.protocol.types import Address, RoundId, SigningDomain

HERE = SigningDomain(1, Address("0x" + "11" * 20))
THERE = SigningDomain(1, Address("0x" + "22" * 20))
ME, OTHER = Address("0x" + "aa" * 20), Address("0x" + "bb" * 20)
FIRST, SECOND = b"\1" * 32, b"\2" * 32


@pytest.fixture(params=["memory", "file", "context"])
def journal(request, tmp_path):
    if request.param == "memory":
        return MemoryJournal()
    if request.param == "file":
        return FileJournal(tmp_path / "deep" / "journal.jsonl")
    return ContextJournal(Context(1, 2, {}, RecordDict(), {}))


def test_one_update_a_round(journal):
    journal.record(HERE, RoundId(1), ME, FIRST)
    journal.record(HERE, RoundId(1), ME, FIRST)
    with pytest.raises(ContributorError) as caught:
        journal.record(HERE, RoundId(1), ME, SECOND)
    assert caught.value.code == "already-signed"
    assert (caught.value.expected, caught.value.found) == (FIRST.hex(), SECOND.hex())
    journal.record(HERE, RoundId(1), ME, FIRST)


def test_other_rounds_federations_and_people_are_their_own(journal):
    journal.record(HERE, RoundId(1), ME, FIRST)
    journal.record(HERE, RoundId(2), ME, SECOND)
    journal.record(THERE, RoundId(1), ME, SECOND)
    journal.record(HERE, RoundId(1), OTHER, SECOND)
    with pytest.raises(ContributorError):
        journal.record(HERE, RoundId(2), ME, FIRST)


def test_a_file_remembers_across_restarts_and_is_private(tmp_path):
    path = tmp_path / "journal.jsonl"
    FileJournal(path).record(HERE, RoundId(1), ME, FIRST)
    with pytest.raises(ContributorError):
        FileJournal(path).record(HERE, RoundId(1), ME, SECOND)
    assert path.stat().st_mode & 0o777 == 0o600
    (line,) = path.read_text().splitlines()
    assert json.loads(line)["update"] == FIRST.hex()


def test_a_line_cut_short_by_a_crash_was_never_signed(tmp_path):
    path = tmp_path / "journal.jsonl"
    journal = FileJournal(path)
    journal.record(HERE, RoundId(1), ME, FIRST)
    whole = path.read_bytes()
    journal.record(HERE, RoundId(2), ME, FIRST)
    path.write_bytes(path.read_bytes()[:-20])
    journal.record(HERE, RoundId(2), ME, SECOND)
    assert path.read_bytes().startswith(whole)
    assert len(path.read_text().splitlines()) == 2
    with pytest.raises(ContributorError):
        journal.record(HERE, RoundId(2), ME, FIRST)


@pytest.mark.parametrize(
    "line", ["not json", "[]", '{"key": "k"}', '{"key": 1, "update": "u"}', "\x00"]
)
def test_a_damaged_line_stops_all_signing(tmp_path, line):
    path = tmp_path / "journal.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(StoreError, match="line 1 is damaged"):
        FileJournal(path).record(HERE, RoundId(1), ME, FIRST)


def test_a_folder_in_the_way_is_named(tmp_path):
    with pytest.raises(StoreError, match="journal"):
        FileJournal(tmp_path).record(HERE, RoundId(1), ME, FIRST)


def test_a_context_keeps_the_last_rounds_only():
    context = Context(1, 2, {}, RecordDict(), {})
    for number in range(1, 100):
        ContextJournal(context).record(HERE, RoundId(number), ME, FIRST)
    assert len(context.state.config_records["fedproof.journal"]) == 65
    with pytest.raises(ContributorError):
        ContextJournal(context).record(HERE, RoundId(99), ME, SECOND)


WRITER = """
import sys
from pathlib import Path
from clients.mod.journal import FileJournal
from coordinator.protocol.errors import ContributorError
from coordinator.protocol.types import Address, RoundId, SigningDomain

HERE, ME = SigningDomain(1, Address("0x" + "11" * 20)), Address("0x" + "aa" * 20)
mine = bytes([int(sys.argv[2])]) * 32
for number in range(20):
    try:
        FileJournal(Path(sys.argv[1])).record(
            HERE, RoundId(number), ME, mine
        )
        print(number)
    except ContributorError:
        pass
"""


@pytest.mark.slow
def test_processes_that_share_a_file_never_both_sign(tmp_path):
    path = tmp_path / "journal.jsonl"
    root = str(Path(__file__).parents[4])
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(number)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": root},
        )
        for number in (1, 2, 3)
    ]
    signed = [int(word) for writer in writers for word in writer.communicate(timeout=60)[0].split()]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert sorted(signed) == list(range(20))
    assert len(path.read_text().splitlines()) == 20
