"""Any changed byte, swapped file or missing file is found and named."""

import json
import random
import shutil
import sqlite3
from pathlib import Path

import pytest
from fedproof_command import fedproof

from coordinator.verify.findings import Findings
from coordinator.verify.run_audit import verify_run

SEED = 7


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x01
    path.write_bytes(data)


def artifacts(findings: Findings) -> str:
    return "\n".join(map(str, findings.faults))


def without_checksums(run: Path) -> Findings:
    """Verify as if the forger had fixed SHA256SUMS too: the chain alone must find it."""
    return verify_run(run, partial=True)


def test_an_untouched_run_holds_and_verify_changes_nothing(run: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*")}
    findings = verify_run(run)
    assert findings.ok, artifacts(findings)
    assert [line.status for line in findings.rounds] == ["final"] * 4
    assert {p: p.stat().st_mtime_ns for p in run.rglob("*")} == before


def blobs(run: Path, suffix: str) -> list[Path]:
    return sorted((run / "blobs").rglob(f"*{suffix}"))


@pytest.mark.parametrize(
    ("suffix", "artifact"),
    [
        (".safetensors", "hash to"),
        (".contributors.json", "contributors must hash"),
        (".scores.json", "scores must hash"),
        (".rewards.json", "rewards must hash"),
        (".rule.json", "rule must be in the store"),
        (".bin", "must be in the store"),
    ],
)
def test_one_byte_of_any_blob(run: Path, suffix: str, artifact: str) -> None:
    chance = random.Random(SEED)
    for path in chance.sample(blobs(run, suffix), min(3, len(blobs(run, suffix)))):
        original = path.read_bytes()
        for position in (0, chance.randrange(len(original)), len(original) - 1):
            flip(path, position)
            findings = without_checksums(run)
            assert artifact in artifacts(findings), (path, position, artifacts(findings))
            assert path.name.split(".")[0] in artifacts(findings)
            assert any(fault.round_id for fault in findings.faults)
            path.write_bytes(original)
    assert verify_run(run).ok


def test_one_byte_of_any_file_is_named_by_the_checksums(run: Path) -> None:
    chance = random.Random(SEED)
    covered = [p for p in run.rglob("*") if p.is_file() and p.parent.name != "plots"]
    covered = [p for p in covered if p.name not in ("report.md", ".lock", "SHA256SUMS")]
    listed = (run / "SHA256SUMS").read_text()
    for path in covered:
        name = path.relative_to(run).as_posix()
        assert name in listed
    for path in chance.sample(covered, 12):
        original = path.read_bytes()
        flip(path, chance.randrange(len(original)))
        findings = verify_run(run)
        name = path.relative_to(run).as_posix()
        assert name in [fault.artifact for fault in findings.faults]
        path.write_bytes(original)
    assert verify_run(run).ok


def test_every_region_of_the_chain_file(run: Path) -> None:
    chance = random.Random(SEED)
    chain = run / "chain" / "chain.sqlite"
    size = chain.stat().st_size
    for _ in range(15):
        position = chance.randrange(size)
        flip(chain, position)
        findings = verify_run(run)
        assert "chain/chain.sqlite" in [f.artifact for f in findings.faults], position
        flip(chain, position)
    assert verify_run(run).ok


def test_a_forged_row_of_the_chain_is_found_by_re_execution(run: Path) -> None:
    """Not by the checksum: the forger has a consistent SQLite file and new checksums."""
    connection = sqlite3.connect(run / "chain" / "chain.sqlite")
    (table,) = [
        name
        for (name,) in connection.execute("select name from sqlite_master where type = 'table'")
    ]
    rows = connection.execute(f"select key, value from {table} where length(key) = 32").fetchall()
    key, value = random.Random(SEED).choice(rows)
    forged = bytes([value[0]]) + bytes(value[1:-1]) + bytes([value[-1] ^ 1])
    connection.execute(f"update {table} set value = ? where key = ?", (forged, key))
    connection.commit()
    connection.close()
    findings = without_checksums(run)
    assert "every block must re-execute" in artifacts(findings)


def test_a_byte_of_the_config_breaks_the_digest_on_chain(run: Path) -> None:
    config = run / "config.json"
    config.write_bytes(config.read_bytes().replace(b'"seed":3', b'"seed":4'))
    findings = without_checksums(run)
    assert "its SHA-256 must be the config digest on chain" in artifacts(findings)


def test_swapped_files_are_found(run: Path) -> None:
    first, second = blobs(run, ".safetensors")[:2]
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)
    text = artifacts(without_checksums(run))
    assert first.name.split(".")[0] in text
    assert second.name.split(".")[0] in text


@pytest.mark.parametrize(
    "name", ["config.json", "federation.json", "SHA256SUMS", "chain/chain.sqlite", "metrics.csv"]
)
def test_a_missing_file_is_named(run: Path, name: str) -> None:
    (run / name).unlink()
    assert name in artifacts(verify_run(run))


def test_a_missing_blob_is_named_with_its_round(run: Path) -> None:
    last = blobs(run, ".contributors.json")[-1]
    last.unlink()
    faults = [f for f in without_checksums(run).faults if last.name.split(".")[0] in f.artifact]
    assert [fault.rule for fault in faults] == ["contributors must hash to the committed root"]
    assert faults[0].round_id in (1, 2, 3, 4)


def test_a_remembered_block_must_be_in_the_chain(run: Path) -> None:
    head = json.loads((run / "federation.json").read_text())["head_hash"]
    assert verify_run(run, seen_block=head).ok
    for unknown in ("0x" + "12" * 32, "not hexadecimal"):
        assert "a block that was seen" in artifacts(verify_run(run, seen_block=unknown))


def test_the_command_says_what_and_ends_with_1(run: Path) -> None:
    good = fedproof("verify", run, "--json")
    answer = json.loads(good.stdout)
    assert (good.returncode, answer["ok"], len(answer["rounds"])) == (0, True, 4)
    assert {"round", "model_root", "contributors", "paid_wei"} <= set(answer["rounds"][0])
    victim = blobs(run, ".safetensors")[0]
    flip(victim, victim.stat().st_size - 1)
    bad = fedproof("verify", run)
    assert bad.returncode == 1
    assert victim.name in bad.stdout
    answer = json.loads(fedproof("verify", run, "--json").stdout)
    assert answer["ok"] is False
    assert answer["faults"][0].keys() == {"round", "artifact", "rule", "detail"}
