"""``fedproof evidence export | check``: statuses, words and files, without chain or connection."""

import json
from pathlib import Path

import pytest
from http_bench import agreement_of
from memory_ledger import CONTRACT, COORDINATOR_KEY
from typer.testing import CliRunner

from coordinator.protocol.errors import ConfigError, StoreError
from coordinator.protocol.instructions import TRAIN, content_hash, message_content, phase_number
from coordinator.protocol.signatures.eip712 import address_of_key, sign_statement
from coordinator.protocol.types import RoundId, RoundInstruction, SignedInstruction, SigningDomain
from coordinator.stores.instructions import InstructionFolder
from simulations.cli import app

DOMAIN = SigningDomain(1337, CONTRACT)


def told(round_id: int, lr: float, key: bytes = COORDINATOR_KEY) -> SignedInstruction:
    content = message_content(
        {"lr": lr, "note": "[red]\x1b[2J"},
        records=("arrays", "config"),
        tensor_order=["w"],
        buffers={},
        sealed=False,
    )
    statement = RoundInstruction(
        RoundId(round_id), phase_number(TRAIN), b"\1" * 32, b"\2" * 32, 9, content_hash(content)
    )
    return SignedInstruction(DOMAIN, sign_statement(DOMAIN, statement, key), content)


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Ada and Bob were told different things in round 7; Cyd was told both."""
    for name, heard in {
        "ada/state": [told(6, 0.1), told(7, 0.1)],
        "bob/state": [told(6, 0.1), told(7, 0.2)],
        "cyd": [told(7, 0.1), told(7, 0.2), told(8, 0.1)],
    }.items():
        for one in heard:
            InstructionFolder(tmp_path / name / "instructions").keep(one)
    return tmp_path


def run(*arguments: object):
    return CliRunner().invoke(app, ["evidence", *map(str, arguments)])


def export(people: Path, *names: str, options: tuple[object, ...] = ()) -> Path:
    out = people / f"{'-'.join(names)}.json"
    done = run("export", *(people / name for name in names), "--out", out, *options)
    assert done.exit_code == 0, done.output
    return out


def test_what_one_was_told_proves_nothing_and_what_two_were_told_does(people: Path) -> None:
    ada, bob = export(people, "ada"), export(people, "bob")
    for alone in (ada, bob):
        done = run("check", alone)
        assert done.exit_code == 1
        assert done.output == (
            "NOT PROVEN  2 instructions of 2 rounds, no two of one round and phase that differ\n"
        )
    done = run("check", ada, bob)
    assert done.exit_code == 0
    who = address_of_key(COORDINATOR_KEY)
    proven, difference = done.output.splitlines()
    assert proven == (
        f"PROVEN      round 7, train: {who}, coordinator of contract {CONTRACT} on chain 1337, "
        "signed two different instructions"
    )
    assert difference.split() in (
        ["content.config.lr:", "0.1", "|", "0.2"],
        ["content.config.lr:", "0.2", "|", "0.1"],
    )
    assert run("check", export(people, "ada", "bob")).exit_code == 0


def test_one_who_was_told_both_has_all_of_it(people: Path) -> None:
    out = people / "c.json"
    done = run("export", people / "cyd", "--out", out)
    assert "3 instructions of 2 rounds" in done.output
    assert "two that differ in round 7" in done.output
    assert f"fedproof evidence check {out}" in done.output
    assert run("check", out).exit_code == 0
    assert run("check", export(people, "cyd", options=("--round", 7))).exit_code == 0
    only = run("export", people / "cyd", "--round", 8, "--out", people / "8.json", "--json")
    assert json.loads(only.output) == {
        "file": str(people / "8.json"),
        "instructions": 1,
        "rounds": 1,
        "equivocated": [],
    }
    assert run("check", people / "8.json").exit_code == 1


def test_as_json_it_names_each_proof_and_each_forgery(people: Path) -> None:
    proof = json.loads(run("check", export(people, "cyd"), "--json").output)
    (found,) = proof["proofs"]
    assert proof["equivocation"] is True
    assert (found["round"], found["phase"], found["chain_id"]) == (7, "train", 1337)
    assert (found["contract"], found["coordinator"]) == (CONTRACT, address_of_key(COORDINATOR_KEY))
    assert sorted(found["differences"]["content.config.lr"]) == [0.1, 0.2]
    assert len(set(found["signatures"])) == 2

    forger = people / "forger" / "instructions"
    InstructionFolder(forger).keep(told(7, 0.1, key=bytes(31) + b"\1"))
    InstructionFolder(forger).keep(told(7, 0.2, key=bytes(31) + b"\1"))
    done = run("check", export(people, "forger"), "--json")
    assert done.exit_code == 1
    assert json.loads(done.output)["equivocation"] is False
    assert [i["round"] for i in json.loads(done.output)["invalid"]] == [7, 7]
    done = run("check", people / "forger.json")
    assert done.output.count("INVALID     round 7, train: round 7: instruction signed by 0x") == 2


def test_what_a_coordinator_wrote_cannot_write_on_the_screen(people: Path) -> None:
    InstructionFolder(people / "dan" / "instructions").keep(told(1, 0.1))
    path = export(people, "dan")
    assert b"\x1b" not in path.read_bytes()
    raw = json.loads(path.read_bytes())
    raw["instructions"][0]["phase"] = "\x1b[2J"
    path.write_text(json.dumps(raw))
    done = run("check", path)
    assert isinstance(done.exception, ConfigError)
    assert "\x1b" not in str(done.exception)


def test_it_is_compared_with_ones_own_federation_where_that_is_given(people: Path) -> None:
    evidence = export(people, "cyd")
    ours, theirs = people / "ours.json", people / "theirs.json"
    agreement = agreement_of()
    ours.write_bytes(agreement.model_copy(update={"contract": CONTRACT}).canonical_json())
    theirs.write_bytes(agreement.canonical_json())
    assert run("check", evidence, "--federation", ours).exit_code == 0
    done = run("check", evidence, "--federation", theirs)
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception) == (
        f"instruction of round 7 is for contract {CONTRACT} on chain 1337, expected contract "
        f"{agreement.contract} on chain {agreement.chain_id}, that of {theirs}"
    )


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (["check", "no.json"], ConfigError, "no.json: no such file"),
        (["check", "text.json"], ConfigError, "text.json: not JSON"),
        (["check", "."], StoreError, "not a regular file"),
        (["export", "nowhere", "--out", "x"], ConfigError, "nowhere: no such folder"),
        (["export", "empty", "--out", "x"], ConfigError, "empty: no instruction is kept there"),
        (
            ["export", "ada", "--round", "9", "--out", "x"],
            ConfigError,
            "ada: no instruction of round 9 is kept there",
        ),
        (["export", "ada", "--out", "text.json"], ConfigError, "text.json: exists"),
        (["export", "ada", "--out", "no/x"], ConfigError, "no/x: there is no folder no"),
    ],
)
def test_bad_input_is_one_line_that_names_it(people: Path, monkeypatch, arguments, kind, said):
    (people / "empty").mkdir()
    (people / "text.json").write_text("hello")
    monkeypatch.chdir(people)
    done = run(*arguments)
    assert isinstance(done.exception, kind), done.output
    assert said in str(done.exception)
    assert (people / "text.json").read_text() == "hello"


def test_a_damaged_folder_is_named(people: Path) -> None:
    (file,) = (people / "ada/state/instructions").glob("*07-train-*")
    file.write_text("{}\n")
    done = run("export", people / "ada", "--out", people / "x.json")
    assert isinstance(done.exception, StoreError)
    assert "line 1" in str(done.exception)
    assert not (people / "x.json").exists()
