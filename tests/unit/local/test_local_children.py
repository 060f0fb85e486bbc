"""Children: restarted, ended with all they started, dead with their parent, never left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from coordinator.local.children import Children, ChildSpec, ChildStatus, rotate
from coordinator.local.leftovers import MARK, end_leftovers, mark_of, marked
from coordinator.local.lock import FolderLock
from coordinator.protocol.errors import StoreError

ROOT = Path(__file__).parents[3]


def spec(folder: Path, code: str, name: str = "child", **changes) -> ChildSpec:
    return ChildSpec(
        name=name,
        command=(sys.executable, "-c", textwrap.dedent(code)),
        environment={**os.environ, **changes.pop("environment", {})},
        folder=folder,
        log=folder / f"{name}.log",
        **{"first_pause_s": 0.01, **changes},
    )


def until(holds: Callable[[], object], what: str) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


SLEEP = "import time; print('here', flush=True); time.sleep(600)"
FAMILY = """
    import subprocess, sys, time
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(grandchild.pid, flush=True)
    time.sleep(600)
"""


def test_a_child_that_ends_is_started_again(tmp_path: Path):
    seen: list[ChildStatus] = []
    with Children(seen.append) as children:
        children.add(spec(tmp_path, "import sys; print('lived', flush=True); sys.exit(3)"))
        until(lambda: len([s for s in seen if s.state == "pausing"]) >= 3, "three lives")
        found = children.find("child")
    assert found is not None
    assert found.returncode == 3
    assert found.starts >= 3
    assert (tmp_path / "child.log").read_text().startswith("lived\nlived\nlived\n")
    assert [s.state for s in seen[:4]] == ["running", "pausing", "running", "pausing"]


def test_a_child_to_run_once_stays_ended(tmp_path: Path):
    ended = threading.Event()
    with Children(lambda s: ended.set() if s.state == "ended" else None) as children:
        children.add(spec(tmp_path, "pass", keep=False))
        assert ended.wait(30)
        found = children.find("child")
    assert found is not None
    assert (found.state, found.starts, found.returncode, found.pid) == ("ended", 1, 0, None)


def test_a_killed_child_and_its_own_children_are_replaced(tmp_path: Path):
    log = tmp_path / "child.log"
    with Children() as children:
        children.add(spec(tmp_path, FAMILY))
        until(lambda: log.exists() and log.read_text().count("\n") == 1, "the first life")
        first = children.find("child")
        grandchild = int(log.read_text())
        assert first is not None
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        until(lambda: log.read_text().count("\n") == 2, "the second life")
        second = children.find("child")
        assert second is not None
        assert second.pid not in (None, first.pid)
        assert second.returncode == -signal.SIGKILL
        until(lambda: not is_alive(grandchild), "the grandchild of the first life is gone")
        last = int(log.read_text().split()[1])
        assert is_alive(last)
    until(lambda: not is_alive(last), "the grandchild of the last life is gone")


def test_restart_does_not_wait(tmp_path: Path):
    log = tmp_path / "child.log"
    with Children() as children:
        children.add(spec(tmp_path, SLEEP, first_pause_s=600.0, longest_pause_s=600.0))
        until(lambda: log.exists() and log.read_text() == "here\n", "the first life")
        children.restart("child")
        until(lambda: log.read_text() == "here\nhere\n", "the second life")
        children.restart("nobody")


def test_the_end_is_asked_for_first_then_forced(tmp_path: Path):
    polite = """
        import signal, sys, time
        def leave(*_):
            print("goodbye", flush=True)
            sys.exit(0)
        signal.signal(signal.SIGTERM, leave)
        print("here", flush=True)
        time.sleep(600)
    """
    deaf = """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("here", flush=True)
        time.sleep(600)
    """
    seen: list[ChildStatus] = []
    children = Children(seen.append)
    children.add(spec(tmp_path, polite, "polite"))
    children.add(spec(tmp_path, deaf, "deaf"))
    until(lambda: "here" in (tmp_path / "polite.log").read_text(), "polite is up")
    until(lambda: "here" in (tmp_path / "deaf.log").read_text(), "deaf is up")
    children.stop(grace_s=1.0)
    assert (tmp_path / "polite.log").read_text() == "here\ngoodbye\n"
    codes = {s.name: s.returncode for s in seen if s.state == "ended"}
    assert codes == {"polite": 0, "deaf": -signal.SIGKILL}
    assert children.status() == []


def test_a_program_that_is_not_there_is_tried_again_and_says_why(tmp_path: Path):
    seen: list[ChildStatus] = []
    missing = ChildSpec(
        "missing", ("/nonexistent/program",), {}, tmp_path, tmp_path / "m.log", first_pause_s=0.01
    )
    with Children(seen.append) as children:
        children.add(missing)
        until(lambda: len(seen) >= 4, "two tries")
    assert seen[1].returncode == 127
    assert "/nonexistent/program: No such file" in (tmp_path / "m.log").read_text()


def test_a_removed_child_is_forgotten(tmp_path: Path):
    with Children() as children:
        children.add(spec(tmp_path, SLEEP))
        with pytest.raises(ValueError, match="already"):
            children.add(spec(tmp_path, SLEEP))
        children.remove("child", grace_s=1.0)
        children.remove("child")
        assert children.status() == []
        children.add(spec(tmp_path, SLEEP))


PARENT = """
import os, sys, time
from pathlib import Path
from coordinator.local.children import Children, ChildSpec
folder = Path(sys.argv[1])
children = Children()
environment = {**os.environ, "FEDPROOF_MARK": sys.argv[2]}
code = '''
import os, subprocess, sys, time
hidden = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                          start_new_session=True)
print(os.getpid(), hidden.pid, flush=True)
time.sleep(600)
'''
children.add(ChildSpec("c", (sys.executable, "-c", code), environment, folder, folder / "c.log"))
time.sleep(600)
"""


def test_children_die_with_a_killed_parent_and_leftovers_are_found(tmp_path: Path):
    mark = mark_of(tmp_path, "coordinator")
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), mark], cwd=ROOT)
    log = tmp_path / "c.log"
    until(lambda: log.exists() and log.read_text().endswith("\n"), "the family is up")
    child, hidden = map(int, log.read_text().split())
    assert set(marked(mark)) == {child, hidden}
    parent.kill()
    parent.wait(30)
    until(lambda: not is_alive(child), "the child dies with its parent")
    assert is_alive(hidden)  # in a session of its own, started by a process that is gone
    assert end_leftovers(mark_of(tmp_path, "participant")) == []
    assert is_alive(hidden)
    assert end_leftovers(mark) == [hidden]
    until(lambda: not is_alive(hidden), "nothing is left")
    assert end_leftovers(mark) == []


def test_leftovers_never_include_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(MARK, "mine")
    assert os.getpid() not in set(marked("mine"))


def test_marks_differ_by_role_and_folder(tmp_path: Path):
    assert mark_of(tmp_path, "a") == mark_of(tmp_path / "x" / "..", "a")
    assert len({mark_of(tmp_path, "a"), mark_of(tmp_path, "b"), mark_of(tmp_path / "c", "a")}) == 3


def test_a_long_log_is_put_aside(tmp_path: Path):
    log = tmp_path / "x.log"
    log.write_text("0123456789")
    rotate(log, 10)
    assert log.read_text() == "0123456789"
    rotate(log, 9)
    assert log.read_text() == ""
    assert (tmp_path / "x.log.1").read_text() == "0123456789"
    rotate(tmp_path / "missing.log", 9)


def test_one_process_holds_a_state_folder(tmp_path: Path):
    folder = tmp_path / "state"
    with FolderLock(folder):
        assert folder.stat().st_mode & 0o777 == 0o700
        with pytest.raises(StoreError, match=f"in use by process {os.getpid()}; stop it first"):
            FolderLock(folder)
    FolderLock(folder).release()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        FolderLock(tmp_path / "file")
