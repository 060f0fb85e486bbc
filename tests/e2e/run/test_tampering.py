"""Any changed byte, swapped file or missing file is found and named."""

import hashlib
import json
import os
import random
import shutil
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fedproof_command import fedproof

from contracts.node.replica import ReplayResult, replay
from coordinator.audit.verify import chain_audit
from coordinator.audit.verify.findings import Findings, printable
from coordinator.audit.verify.run_audit import verify_run
from coordinator.stores.run_folder import RunFolder

SEED = 7
LAYOUT = "a run's folder must hold a run's files and nothing else"


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.fixture(scope="module")
def held() -> list[tuple[bytes, ReplayResult]]:
    """The chain that was executed last."""
    return []


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, held: list[tuple[bytes, ReplayResult]]) -> None:
    """Execute the blocks of a chain file once for as long as not a byte of it changes."""

    def replay_once(path: Path) -> ReplayResult:
        data = path.read_bytes()
        if not held or held[0][0] != data:
            held[:] = [(data, replay(path))]
        return held[0][1]

    monkeypatch.setattr(chain_audit, "replay", replay_once)


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
def test_one_byte_of_any_blob(run: Path, quick: None, suffix: str, artifact: str) -> None:
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


def covered(run: Path) -> list[str]:
    """Every file but the views and the lock, as SHA256SUMS must list them."""
    found = [p for p in run.rglob("*") if p.is_file() and p.parent.name != "plots"]
    names = {p.relative_to(run).as_posix() for p in found}
    return sorted(names - {"report.md", ".lock", "SHA256SUMS"})


def groups(names: list[str]) -> dict[str, list[str]]:
    """Files that are read alone, each; blobs of a kind, and what is only hashed, at once."""
    found: dict[str, list[str]] = {}
    for name in names:
        kind = name.split(".", 1)[1] if name.startswith("blobs/") else "hashed only"
        alone = name in ("config.json", "federation.json", "chain/chain.sqlite")
        found.setdefault(name if alone else kind, []).append(name)
    return found


def test_one_byte_of_every_file_is_named(run: Path, quick: None) -> None:
    """Whatever the bytes become, the audit goes on to its end and names each file."""
    chance, names = random.Random(SEED), covered(run)
    listed = [line.split("  ")[1] for line in (run / "SHA256SUMS").read_text().splitlines()]
    assert listed == names
    original = {name: (run / name).read_bytes() for name in names}
    for group in groups(names).values():
        for place in (0.0, 0.5, 1.0, *(chance.random() for _ in range(2))):
            for name in group:
                changed = bytearray(original[name])
                changed[round(place * (len(changed) - 1))] ^= chance.randrange(1, 256)
                (run / name).write_bytes(changed)
            findings = verify_run(run)
            missed = {*group} - {fault.artifact for fault in findings.faults}
            assert not missed, (place, missed)
        for name in group:
            (run / name).write_bytes(original[name])
    assert verify_run(run).ok


def test_one_byte_of_the_checksums_is_found(run: Path) -> None:
    """Also one that other readers take for a line break: nothing is forgiven."""
    chance, folder = random.Random(SEED), RunFolder(run, read_only=True)
    path, original = run / "SHA256SUMS", (run / "SHA256SUMS").read_bytes()
    ends = [i for i, byte in enumerate(original) if byte == ord("\n")]
    for position in {*chance.sample(range(len(original)), 20), 0, ends[0], ends[-1]}:
        for value in (*b"\v\f\r\x1c\x1d\x1e\0\xff", *b" 0a", original[position] ^ 1):
            if value == original[position]:
                continue
            changed = bytearray(original)
            changed[position] = value
            path.write_bytes(changed)
            assert list(folder.check_checksums()), (position, value)
    path.write_bytes(original)
    assert list(folder.check_checksums()) == []


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ('"contract": "0x', '"contract": "0y', "it must name the federation's contract"),
        ('"contract": "0x', '"contract": "0x0', "it must name the federation's contract"),
        ('"contract": "', '"contract": 7, "was": "', "it must name the federation's contract"),
        ('"contract"', '"contrast"', "the run must say where its chain's commitments are"),
        ('"timestamp": 1', '"timestamp": 2', "the chain must start from the genesis it records"),
        ('"gas_limit": ', '"gas_limit": -', "the run must say where its chain's commitments are"),
    ],
)
def test_wrong_coordinates_are_not_blamed_on_the_chain(
    run: Path, quick: None, old: str, new: str, rule: str
) -> None:
    path = run / "federation.json"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    findings = without_checksums(run)
    assert [(f.artifact, f.rule) for f in findings.faults] == [("federation.json", rule)]


def test_every_digit_of_the_contracts_address_counts(run: Path, quick: None) -> None:
    path = run / "federation.json"
    text = path.read_text()
    start = text.index('"contract": "0x') + len('"contract": "0x')
    for position in range(start, start + 40):
        other = "1" if text[position] == "0" else "0"
        path.write_text(text[:position] + other + text[position + 1 :])
        (fault,) = without_checksums(run).faults
        assert fault.artifact == "federation.json"
        assert "there is no contract at 0x" in fault.detail


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


def resummed(run: Path) -> Findings:
    """Verify after the forger has written ``SHA256SUMS`` anew."""
    RunFolder(run).write_checksums()
    return verify_run(run)


def put(path: Path, data: bytes = b"x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def socket_at(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(path.parent)  # a socket's path has at most 107 characters
        listening.bind(path.name)


@pytest.mark.parametrize(
    ("name", "add"),
    [
        ("blobs/00/report.md", put),
        ("chain/plots/x.pkl", put),
        ("blobs/.lock", put),
        ("blobs/SHA256SUMS", put),
        ("plots/report.md", put),
        ("plots/more/x.png", put),
        (".lock", put),
        ("notes.txt", put),
        (".DS_Store", put),
        (".tmp-config.json", put),
        ("blobs/00/.tmp-x", put),
        ("chain/chain.sqlite-wal", put),
        ("pending/2/000001.json", put),
        ("rounds/1.json", put),
        ("rounds/000001.json.bak", put),
        ("blobs/ab/AB" + "0" * 62 + ".bin", put),
        ("blobs/ab/cd" + "0" * 62 + ".bin", put),
        ("blobs\\ab", put),
        ("n\x1b[2J[red]\udcff", put),
        ("plots/etc", lambda path: link(path, Path("/etc"))),
        ("loop", lambda path: link(path, path)),
        ("pipe", pipe),
        ("config.json", pipe),
        ("socket", socket_at),
        ("blobs/00", Path.mkdir),
        ("attempts", Path.mkdir),
        ("mine", Path.mkdir),
    ],
)
def test_whatever_no_run_puts_there_is_named(
    run: Path,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    add: Callable[[Path], None],
) -> None:
    monkeypatch.chdir(run)
    add(run / name)
    named = {f.artifact for f in resummed(run).faults if f.rule == LAYOUT}
    assert printable(name) in named


def test_a_blob_elsewhere_is_no_blob_of_the_run(run: Path, quick: None, tmp_path: Path) -> None:
    blob = blobs(run, ".safetensors")[-1]
    blob.rename(tmp_path / "elsewhere")
    blob.symlink_to(tmp_path / "elsewhere")
    for findings in (resummed(run), without_checksums(run)):
        (fault,) = [f for f in findings.faults if f.rule == LAYOUT]
        assert fault.artifact == blob.relative_to(run).as_posix()
        assert fault.round_id in (1, 2, 3, 4)
        assert fault.detail == "a symbolic link, expected a regular file"


def test_a_blob_that_nothing_leads_to_is_named(run: Path, quick: None) -> None:
    digest = hashlib.sha256(b"x").hexdigest()
    path = run / "blobs" / digest[:2] / f"{digest}.bin"
    put(path)
    (fault,) = resummed(run).faults
    assert fault.artifact == path.relative_to(run).as_posix()
    assert fault.rule == "every blob must be committed to on chain"


def test_what_is_wrong_with_the_checksums_themselves(run: Path, quick: None) -> None:
    sums = run / "SHA256SUMS"
    original = sums.read_bytes()
    first = original.split(b"\n")[0]
    outside = first[:64] + b"  ../" + run.name.encode() + b"/config.json"
    for changed, says in (
        (original + first + b"\n", "again"),
        (original.replace(b"\n", b"\r\n"), "has Windows line ends"),
        (original + outside + b"\n", "missing"),
        (original + first[:64] + b"  report.md\n", "missing"),
        (original.upper(), "is not '<sha256>  <file>'"),
        (first + b"\n", "not listed"),
    ):
        sums.write_bytes(changed)
        findings = verify_run(run)
        assert says in artifacts(findings), changed[-80:]
    sums.write_bytes(b"\n".join(reversed(original.split(b"\n")[:-1])) + b"\n")
    assert verify_run(run).ok  # whoever sorts otherwise has changed nothing


def test_an_honest_copy_holds(run: Path, quick: None, tmp_path: Path) -> None:
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", run)
    shutil.unpack_archive(packed, tmp_path / "unpacked")
    for path in (tmp_path / "unpacked").rglob("*"):
        path.chmod(0o500 if path.is_dir() else 0o400)
    linked = tmp_path / "linked"
    linked.symlink_to(run)
    shutil.copytree(run, tmp_path / "hard", copy_function=os.link)
    for copy in (tmp_path / "unpacked", linked, tmp_path / "hard"):
        assert verify_run(copy).ok, artifacts(verify_run(copy))
    shutil.rmtree(tmp_path / "hard" / "plots")
    (tmp_path / "hard" / "report.md").unlink()
    (tmp_path / "hard" / ".lock").unlink()
    assert verify_run(tmp_path / "hard").ok


def records(run: Path) -> dict[str, list[tuple[str | int, ...]]]:
    """By file, the path to each value that follows from chain and blobs; line or client first."""
    rounds = ("round", "status", "reason", "model_root", "contributors_root", "contributors")
    rounds += ("refused", "refusals", "examples", "stake_wei", "paid_wei", "train_loss")
    person = ("client", "address", "stake_wei", "slashed_wei", "earned_wei", "claimed_wei")
    coordinates = ("chain_id", "contract", "referee", "head_block", "head_hash")
    return {
        "metrics.jsonl": [(line, key) for line in (0, 3) for key in rounds],
        "contributors.json": [(client, key) for client in (0, 4) for key in (*person, "accepted")],
        "coordinator.json": [("bond_wei",), ("bonded_wei",), ("address",), ("refused",)],
        "federation.json": [(key,) for key in coordinates],
        "rounds/000002.json": [(key,) for key in ("round", "status", "velocity", "reason")],
    }


def rewritten(path: Path, change: Callable[[Any], None]) -> None:
    """Change a record and spell it as the run does."""
    text = path.read_text()
    if path.suffix == ".jsonl":
        lines = [json.loads(line) for line in text.splitlines()]
        change(lines)
        path.write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))
    else:
        document = json.loads(text)
        change(document)
        path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


def other(value: Any) -> Any:
    if isinstance(value, int | float):
        return value + 1
    return f"{value}0" if isinstance(value, str) else [*value, "x"]


def changer(path: tuple[str | int, ...]) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        *way, last = path
        for step in way:
            document = document[step]
        document[last] = other(document[last])

    return change


def test_a_changed_record_is_found_though_the_checksums_were_rewritten(
    run: Path, quick: None
) -> None:
    for name, paths in records(run).items():
        original = (run / name).read_bytes()
        for path in paths:
            rewritten(run / name, changer(path))
            faults = resummed(run).faults
            assert name in {fault.artifact for fault in faults}, (name, path)
            wrong = next(fault for fault in faults if fault.artifact == name)
            if name == "metrics.jsonl":
                assert wrong.round_id == int(path[0]) + 1
            if name.startswith("rounds/"):
                assert wrong.round_id == 2
            assert str(path[-1]) in wrong.detail
            (run / name).write_bytes(original)
    assert resummed(run).ok


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("metrics.jsonl", lambda d: d.pop()),
        ("metrics.jsonl", lambda d: d.append(d[-1])),
        ("metrics.jsonl", lambda d: d.reverse()),
        ("metrics.jsonl", lambda d: d[0].update(more=1)),
        ("metrics.jsonl", lambda d: d[0].pop("seconds")),
        ("metrics.jsonl", lambda d: d[0].update(round=1.0)),
        ("metrics.jsonl", lambda d: d[0].update(contributors=True)),
        ("metrics.jsonl", lambda d: d[0].update(test_accuracy=1.5)),
        ("metrics.jsonl", lambda d: d[0].update(seconds=-1.0)),
        ("metrics.jsonl", lambda d: d[0].update(refusals={"\ud800": 1})),
        ("metrics.jsonl", lambda d: d.__setitem__(0, [])),
        ("contributors.json", lambda d: d.pop()),
        ("contributors.json", lambda d: d.append(d[-1])),
        ("contributors.json", lambda d: d.append({**d[-1], "client": 5})),
        ("contributors.json", lambda d: d[0].update(address=7)),
        ("contributors.json", lambda d: d[0].update(address="0x" + "zz" * 20)),
        ("contributors.json", lambda d: d[0].update(refusals={"late": "3"})),
        ("contributors.json", lambda d: d[0].update(examples=-1)),
        ("contributors.json", lambda d: d.__setitem__(0, "nobody")),
        ("coordinator.json", lambda d: d["convictions"].append({"round": 1})),
        ("coordinator.json", lambda d: d.clear()),
        ("federation.json", lambda d: d.pop("head_hash")),
        ("federation.json", lambda d: d.update(more=1)),
        ("rounds/000001.json", lambda d: d["refusals"].append({"code": "late"})),
        ("rounds/000001.json", lambda d: d["refusals"].append("late")),
        ("rounds/000001.json", lambda d: d.update(refusals=7)),
    ],
)
def test_a_record_of_another_form_is_found(
    run: Path, quick: None, name: str, change: Callable[[Any], None]
) -> None:
    rewritten(run / name, change)
    assert name in {fault.artifact for fault in resummed(run).faults}


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "[" * 50, '{"a":1,"a":1}', "\xff", "NaN"])
def test_records_that_are_something_else_are_found(run: Path, quick: None, text: str) -> None:
    names = {"metrics.jsonl", "contributors.json", "coordinator.json", "rounds/000001.json"}
    for name in names:
        (run / name).write_bytes(text.encode("latin-1"))
    assert {fault.artifact for fault in resummed(run).faults} == names


def test_a_table_that_is_something_else_is_found(run: Path, quick: None) -> None:
    table = run / "metrics.csv"
    original = table.read_bytes()
    for changed in (b"", b"\xff", original.replace(b"\n", b"\r\n"), original + b"\n"):
        table.write_bytes(changed)
        (fault,) = resummed(run).faults
        assert fault.artifact == "metrics.csv"


def test_records_are_found_in_one_spelling_only(run: Path, quick: None) -> None:
    for name in ("contributors.json", "coordinator.json", "federation.json", "rounds/000002.json"):
        original = (run / name).read_bytes()
        (run / name).write_bytes(json.dumps(json.loads(original)).encode())
        (fault,) = resummed(run).faults
        assert (fault.artifact, fault.detail) == (name, "not spelled as a run spells it")
        (run / name).write_bytes(original)


def test_records_of_rounds_that_never_were(run: Path, quick: None) -> None:
    note = json.loads((run / "rounds" / "000004.json").read_bytes())
    put(run / "rounds" / "000005.json", json.dumps(note | {"round": 5}, indent=1).encode())
    put(run / "attempts" / "000002.json", b'{\n "attack": "x",\n "refused": "y",\n "round": 2\n}\n')
    named = {fault.artifact for fault in resummed(run).faults}
    assert named == {"rounds/000005.json", "coordinator.json"}


def test_what_only_the_checksums_vouch_for_is_said(run: Path, quick: None) -> None:
    put(run / "versions.json", b"{}")
    findings = resummed(run)
    assert findings.ok, artifacts(findings)  # nothing on chain knows: the output says so
    assert findings.facts["files"] == {
        "chain": ["blobs/", "chain/", "config.json", "federation.json"],
        "in_part": [
            "contributors.json",
            "coordinator.json",
            "metrics.csv",
            "metrics.jsonl",
            "rounds/",
        ],
        "sums": ["versions.json"],
        "nothing": ["plots/", "report.md"],
    }
    text = fedproof("verify", run).stdout
    assert "by SHA256SUMS alone: versions.json; by nothing: plots/, report.md" in text
