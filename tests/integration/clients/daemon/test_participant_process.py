"""``fedproof client`` as a process: killed at bad moments, stopped, misled, and what it says."""

import os
import shutil
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from participant_bench import (
    CoordinatorStub,
    Daemon,
    coordinator_stub,
    found_bench,
)

from coordinator.flower.records import read_submission
from coordinator.local.leftovers import mark_of, marked

pytestmark = pytest.mark.slow
APP = 'state = "state"\napp = "participant_apps:app"'
SUPPORT = str(Path(__file__).parents[3] / "support")


def bring_app(root: Path, *names: str) -> dict[str, str]:
    """Have participants bring an app that answers differently each time; return its environment."""
    for name in names:
        path = root / "participants" / name / "participant.toml"
        path.write_text(path.read_text().replace('state = "state"', APP))
    return {"PYTHONPATH": os.pathsep.join([str(Path(SUPPORT).parents[1]), SUPPORT])}


def statement(reply):
    assert not reply.has_error(), reply.error
    return dict(reply.content.config_records["fedproof"])


def kill_when_there(daemon: Daemon, folder: Path, pattern: str) -> threading.Thread:
    """Kill a daemon as soon as a file appears."""

    def watch() -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if any(p.name[0] != "." and p.stat().st_size for p in folder.glob(pattern)):
                daemon.kill()
                return
            time.sleep(0.0005)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_rounds_by_processes_paid_copied_and_stopped(stub: CoordinatorStub, root: Path):
    with Daemon(root, "ada") as ada, Daemon(root, "bob") as bob:
        for daemon in (ada, bob):
            status = daemon.ready()
            assert int(status["bond_wei"]) == stub.bond(status["address"]) == 10**18
            assert [child["name"] for child in status["children"]] == ["supernode"]
        for _ in range(2):
            outcome = stub.play([ada, bob])
            assert outcome.status == "sealed"
            assert len(outcome.accepted) == 2
        model = ada.state / "models" / "round-2.safetensors"
        ada.until(lambda _status: model.exists())
        address = ada.until(lambda s: s["trained"] == 2)["address"]
        bob.until(lambda s: s["last_round"] == 2)
        ada.until(lambda _status: stub.federation.account(address).claimed_wei == 10**18)
        assert [ada.end(), bob.end(signal.SIGINT)] == [0, 130]
        assert ada.status()["state"] == "stopped"
        mark = mark_of(ada.state, "participant")
        assert not list(marked(mark))


@pytest.mark.parametrize("pattern", ["replies/*.reply", "journal.jsonl"])
def test_killed_between_signing_and_uploading_it_never_signs_another_update(
    stub: CoordinatorStub, root: Path, pattern: str
):
    """Its app answers differently each time, so only what is on disk can be the same again."""
    env = bring_app(root, "ada")
    with Daemon(root, "ada", env=env) as ada:
        ada.ready()
        announced = stub.service.open_round()
        folder = ada.state / Path(pattern).parent
        watcher = kill_when_there(ada, folder, Path(pattern).name)
        lost = ada.ask(stub.train_message(announced), patience_s=0.0)
        watcher.join(60)
        assert ada.process.poll() == -signal.SIGKILL
        kept = list((ada.state / "replies").glob("[0-9]*.reply"))
        ada.start().ready()
        again = ada.train(announced)
        journal = (ada.state / "journal.jsonl").read_text().splitlines()
        assert len(journal) == 1
        if kept:
            update = statement(again)["update"]
            assert f'"update": "{update}"' in journal[0] or f'"update":"{update}"' in journal[0]
            if not lost.has_error():
                assert statement(lost) == statement(again)
            stub.submit(announced, again)
            assert statement(ada.train(announced)) == statement(again)
        else:  # killed after the journal's line, before there was a reply: it sits the round out
            assert again.error.reason.startswith("fedproof/already-signed: round 1: ")
        assert ada.end() == 0


def test_the_built_in_trainer_gives_the_same_update_even_if_only_the_journal_was_written(
    stub: CoordinatorStub, root: Path
):
    announced = stub.service.open_round()
    with Daemon(root, "ada") as ada:
        ada.ready()
        first = read_submission(ada.train(announced).content, announced.manifest.dimension)
        ada.kill()
        shutil.rmtree(ada.state / "replies")
        ada.start().ready()
        again = read_submission(ada.train(announced).content, announced.manifest.dimension)
        assert first.signed == again.signed
        assert first.vector.tobytes() == again.vector.tobytes()
        # told something else for this round, it keeps both, and its status says so
        assert ada.status()["equivocated"] == []
        refused = ada.train(announced, lr=0.5)
        assert refused.error.reason.startswith("fedproof/conflicting-instruction: round 1: ")
        ada.until(lambda status: status["equivocated"] == [1])


def test_killed_it_leaves_nothing_running_and_a_second_one_is_refused(
    stub: CoordinatorStub, root: Path
):
    with Daemon(root, "ada") as ada:
        ada.ready()
        other = Daemon(root, "ada")
        other.output = other.folder / "second.txt"
        with other:
            assert other.wait() == 6
            assert f"is in use by process {ada.process.pid}; stop it first" in other.said()
        mark = mark_of(ada.state, "participant")
        ada.until(lambda s: len(list(marked(mark))) >= 2)
        ada.kill()
        end = time.monotonic() + 30
        while list(marked(mark)) and time.monotonic() < end:
            time.sleep(0.05)
        assert not list(marked(mark))


def test_a_coordinator_restored_from_an_old_copy_is_refused_until_the_true_chain_is_back(
    root: Path, tmp_path: Path
):
    with Daemon(root, "ada") as ada, Daemon(root, "bob") as bob:
        with coordinator_stub(root) as stub:
            ada.ready()
            bob.ready()
            stub.play([ada, bob])
            stub.close()
            shutil.copytree(root / "state", tmp_path / "old")
            stub.open()
            for _ in range(2):
                stub.play([ada, bob])
            height = stub.federation.block().number
            ada.until(lambda s: s["chain_block"] >= height)
        shutil.move(root / "state", tmp_path / "true")
        shutil.copytree(tmp_path / "old", root / "state")
        with coordinator_stub(root) as stub:
            lost = ada.until(lambda s: s["state"] == "refusing" and "history" in s["faults"])
            assert "was seen and is gone: the chain ends before it" in lost["faults"]["history"]
            announced = stub.service.open_round()
            for reply in (ada.train(announced), ada.hello()):
                assert reply.error.reason.startswith("fedproof/history-lost: block ")
            assert ada.kill() is None
            ada.start()  # it does not forget, whatever is started again
            ada.until(lambda s: s["state"] == "refusing")
            assert ada.train(announced).error.reason.startswith("fedproof/history-lost: block ")
        shutil.rmtree(root / "state")
        shutil.move(tmp_path / "true", root / "state")
        with coordinator_stub(root) as stub:
            ada.ready()
            bob.ready()
            assert stub.play([ada, bob]).status == "sealed"


def test_it_ends_when_told_though_the_coordinator_hangs(stub: CoordinatorStub, root: Path):
    with Daemon(root, "ada") as ada:
        ada.ready()
        stub.http.stop()
        with socket.create_server(("127.0.0.1", stub.settings.http.port), backlog=64) as deaf:
            asking, _peer = deaf.accept()  # now it waits for an answer that will not come
            assert ada.end() == 0
            asking.close()


def test_once_ends_when_its_round_is_sealed(stub: CoordinatorStub, root: Path):
    with Daemon(root, "ada", "--once") as ada, Daemon(root, "bob", "--once") as bob:
        ada.ready()
        bob.ready()
        announced = stub.service.open_round()
        for daemon in (ada, bob):
            stub.submit(announced, daemon.train(announced))
        ada.until(lambda s: s["trained"] == 1)
        time.sleep(2.5)  # a look at the chain later it still waits
        assert ada.process.poll() is None
        assert stub.service.close_round().status == "sealed"
        assert [ada.wait(), bob.wait()] == [0, 0]
        assert "took part in a sealed round round=1" in ada.said()


def test_neither_key_nor_password_reach_what_flower_starts(stub: CoordinatorStub, root: Path):
    path = root / "participants" / "ada" / "participant.toml"
    secret = (path.parent / "password.txt").read_text().strip()
    path.write_text(path.read_text().replace('password_file = "password.txt"', ""))
    (path.parent / "password.txt").unlink()
    with Daemon(root, "ada", env={"FEDPROOF_PASSWORD": secret}) as ada:
        ada.ready()
        mark = mark_of(ada.state, "participant")
        ada.until(lambda s: len(list(marked(mark))) >= 2)
        for pid in marked(mark):
            for what in ("environ", "cmdline"):
                shown = Path(f"/proc/{pid}/{what}").read_bytes()
                assert secret.encode() not in shown
                assert b"FEDPROOF_PASSWORD" not in shown
        assert secret.encode() not in Path(f"/proc/{ada.process.pid}/cmdline").read_bytes()
        assert ada.end() == 0
        logs = b"".join(p.read_bytes() for p in ada.state.rglob("*") if p.is_file())
        assert secret.encode() not in logs
        assert secret not in ada.said()


def test_what_is_wrong_with_its_files_is_one_line_and_a_code(root: Path, tmp_path: Path):
    folder = root / "participants" / "ada"

    def run(*changes: tuple[str, str]) -> tuple[int, str]:
        path = folder / "participant.toml"
        whole = path.read_text()
        for old, new in changes:
            assert old in path.read_text()
            path.write_text(path.read_text().replace(old, new))
        daemon = Daemon(root, "ada")
        daemon.output = tmp_path / "said.txt"
        daemon.output.unlink(missing_ok=True)
        with daemon:
            code = daemon.wait()
        path.write_text(whole)
        (line,) = daemon.said().splitlines()
        return code, line

    code, line = run(("data.csv", "none.csv"))
    assert (code, "none.csv: cannot be read: No such file" in line) == (2, True)
    code, line = run(("[stake]", "[stakes]"))
    assert (code, 'unknown key "stakes"; did you mean "stake"' in line) == (2, True)
    (folder / "account.json").chmod(0o644)
    code, line = run()
    assert (code, "account.json: mode 0644 lets others read the key" in line) == (7, True)
    (folder / "account.json").chmod(0o600)
    (folder / "password.txt").write_text("wrong\n")
    code, line = run()
    assert (code, "wrong password" in line) == (7, True)


def test_another_chain_ends_it_with_the_reason(stub: CoordinatorStub, root: Path, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    other = found_bench(tmp_path / "elsewhere", ["ada"])
    with coordinator_stub(other) as elsewhere:
        path = root / "participants" / "ada" / "participant.toml"
        ports = (f":{stub.settings.http.port}/", f":{elsewhere.settings.http.port}/")
        path.write_text(path.read_text().replace(*ports))
        with Daemon(root, "ada") as ada:
            # another contract's address: there is nothing there, and that may still change
            status = ada.until(lambda s: "chain" in s["faults"])
            assert "there is no contract at" in status["faults"]["chain"]
        agreement = other / "participants" / "ada" / "federation.json"
        shutil.copy(agreement, root / "participants" / "ada" / "federation.json")
        text = agreement.read_text().replace('"round_duration_s":600', '"round_duration_s":601')
        (root / "participants" / "ada" / "federation.json").write_text(text)
        with Daemon(root, "ada") as ada:
            assert ada.wait() == 2
            assert "was deployed for agreement" in ada.said()
