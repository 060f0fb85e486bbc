"""The pool: same bytes whatever the number of workers, and nothing left behind by any death."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flower_bench import CLIENTS, initial_arrays, make_bench
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from coordinator.flower.strategy import ServiceStrategy
from coordinator.protocol.errors import ConfigError, PhaseError, StoreError
from simulations.engines.process import PoolGrid
from simulations.engines.segments import PREFIX, SegmentFolder, sweep

NODES = {client + 2: {"client": client} for client in range(8)}
PRELOAD = ("flower_bench",)


def make_grid(factory: str, base: Path, workers: int = 2, **options) -> PoolGrid:
    return PoolGrid(
        factory, NODES, workers=workers, seed=1, preload=PRELOAD, segment_base=base, **options
    )


def send(grid: PoolGrid, timeout: float | None = None, arrays: ArrayRecord | None = None, **config):
    content = RecordDict({"arrays": arrays or initial_arrays(), "config": ConfigRecord(config)})
    messages = [Message(content, node, "train") for node in grid.get_node_ids()]
    return grid.send_and_receive(messages, timeout=timeout)


def answers(replies) -> dict[int, tuple[float, float]]:
    """Return node to (what it drew, how often it was asked), in order of node."""
    found = {}
    for reply in replies:
        metrics = reply.content.metric_records["metrics"]
        found[reply.metadata.src_node_id] = (metrics["drawn"], metrics["count"])
    return dict(sorted(found.items()))


def errors(replies) -> dict[int, str]:
    return {r.metadata.src_node_id: r.error.reason for r in replies if r.has_error()}


def rounds_of(workers: int, base: Path) -> list[str]:
    bench = make_bench()
    nodes = {node: config for node, config in NODES.items() if config["client"] < CLIENTS}
    with PoolGrid(
        "flower_bench:pooled_app",
        nodes,
        workers=workers,
        chain_view=bench.chain_view,
        preload=PRELOAD,
        segment_base=base,
    ) as grid:
        roots: list[str] = []
        ServiceStrategy(
            bench.service,
            on_round=lambda report: roots.append(report.outcome.model_root.hex()),
        ).start(grid, initial_arrays(), num_rounds=3)
    updates = sorted(root.hex() for root in bench.store.vectors)
    return roots + updates


def test_one_worker_and_four_give_the_same_roots(tmp_path: Path):
    one, four = rounds_of(1, tmp_path), rounds_of(4, tmp_path)
    assert one == four
    assert len(one) == 3 + 1 + 3 + 4  # rounds; the initial model, the new ones, the updates
    assert list(tmp_path.iterdir()) == []


def test_global_generators_and_client_state_do_not_depend_on_the_worker(tmp_path: Path):
    seen = []
    for workers in (1, 3):
        with make_grid("flower_bench:misbehaving_app", tmp_path, workers) as grid:
            seen.append([answers(send(grid)) for _ in range(2)])
    assert seen[0] == seen[1]
    first, second = seen[0]
    assert [count for _, count in first.values()] == [1] * 8
    assert [count for _, count in second.values()] == [2] * 8
    assert len({drawn for answer in seen[0] for drawn, _ in answer.values()}) == 16


@pytest.mark.parametrize(
    ("conduct", "reason"),
    [
        ("die", "worker-crashed: the worker was killed by signal 9"),
        ("exit", "worker-crashed: the worker ended with exit status 3"),
        ("raise", "ValueError: no data here"),
    ],
)
def test_a_failing_client_costs_its_own_reply_only(tmp_path: Path, conduct: str, reason: str):
    with make_grid("flower_bench:misbehaving_app", tmp_path) as grid:
        assert len(answers(send(grid))) == 8
        replies = list(send(grid, victim=5, conduct=conduct))
        assert errors(replies) == {7: reason}
        assert len(replies) == 8
        counts = {node: count for node, (_, count) in answers(send(grid)).items()}
        # what the failed attempt did to the client's state is lost with it, nothing else
        assert counts == {**dict.fromkeys(NODES, 3), 7: 2}


def test_a_worker_killed_from_outside_is_replaced(tmp_path: Path):
    with make_grid("flower_bench:misbehaving_app", tmp_path) as grid:
        before = answers(send(grid))
        victims = grid.worker_process_ids
        for process_id in victims:
            os.kill(process_id, signal.SIGKILL)
        after = list(send(grid))
        assert {reply.metadata.src_node_id for reply in after} == set(NODES)
        assert set(grid.worker_process_ids).isdisjoint(victims)
        assert [count for _, count in answers(send(grid)).values()][:1] >= [2]
        assert before.keys() == NODES.keys()


def test_a_client_that_hangs_is_given_up_at_the_timeout(tmp_path: Path):
    with make_grid("flower_bench:misbehaving_app", tmp_path) as grid:
        grid.wait_until_ready()
        replies = list(send(grid, timeout=3.0, victim=0, conduct="hang"))
        assert errors(replies) == {2: "client-timeout: none in 3 s"}
        assert len(replies) == 8
        assert len(answers(send(grid))) == 8


def test_replies_nobody_waits_for_are_dropped(tmp_path: Path):
    with make_grid("flower_bench:misbehaving_app", tmp_path) as grid:
        for reply in send(grid):
            assert reply.has_content()
            break
        assert len(answers(send(grid))) == 8
        assert {p.name for p in grid.segment_folder.iterdir()} == {"owner.lock"}


def test_large_arrays_and_states_come_back_whole(tmp_path: Path):
    big = ArrayRecord({"w": Array(np.arange(300_000, dtype=np.float32))})
    with make_grid("flower_bench:misbehaving_app", tmp_path) as grid:
        for reply in send(grid, arrays=big):
            client = reply.metadata.src_node_id - 2
            values = reply.content.array_records["arrays"]["w"].numpy()
            assert values[-1] == 299_999 + np.float32((client + 1) / 8)
        assert {p.name for p in grid.segment_folder.iterdir()} == {"owner.lock"}


def test_pushed_messages_can_be_pulled_by_id(tmp_path: Path):
    with make_grid("flower_bench:misbehaving_app", tmp_path) as grid:
        content = RecordDict({"arrays": initial_arrays(), "config": ConfigRecord()})
        ids = list(grid.push_messages([Message(content, node, "train") for node in (2, 3)]))
        pulled: list[Message] = []
        wait_until(lambda: pulled.extend(grid.pull_messages(ids)) or len(pulled) == 2)
        assert sorted(m.metadata.reply_to_message_id for m in pulled) == sorted(ids)
        assert list(grid.pull_messages(ids)) == []


def test_a_client_app_that_cannot_be_built_is_named(tmp_path: Path):
    with (
        pytest.raises(ConfigError, match="RuntimeError: no such data set"),
        make_grid("flower_bench:broken_factory", tmp_path) as grid,
    ):
        list(send(grid))
    assert list(tmp_path.iterdir()) == []


def test_a_factory_that_gives_no_client_app_is_named(tmp_path: Path):
    with (
        pytest.raises(ConfigError, match="expected a flwr ClientApp"),
        make_grid("flower_bench:make_bench", tmp_path) as grid,
    ):
        grid.wait_until_ready()


@pytest.mark.parametrize("options", [{"workers": 0}, {"clients": {}}, {"clients": {1: {}}}])
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, options: dict):
    settings = {"clients": NODES, "workers": 1, "segment_base": tmp_path, **options}
    with pytest.raises(ConfigError, match="expected"):
        PoolGrid("flower_bench:misbehaving_app", **settings)
    assert list(tmp_path.iterdir()) == []


def test_a_message_to_nobody_is_our_own_mistake(tmp_path: Path):
    with (
        make_grid("flower_bench:misbehaving_app", tmp_path, 1) as grid,
        pytest.raises(PhaseError, match="node 77"),
    ):
        grid.push_messages([Message(RecordDict(), 77, "train")])


# --- deaths -----------------------------------------------------------------------------------

OWNER = """
import sys
from pathlib import Path
from flower_bench import initial_arrays
from flwr.app import ConfigRecord, Message, RecordDict
from simulations.engines.process import PoolGrid

if __name__ == "__main__":
    nodes = {client + 2: {"client": client} for client in range(4)}
    with PoolGrid("flower_bench:misbehaving_app", nodes, workers=2, preload=("flower_bench",),
                  segment_base=Path(sys.argv[1])) as grid:
        grid.wait_until_ready()
        print(*grid.worker_process_ids, flush=True)
        config = ConfigRecord({"victim": 0, "conduct": "hang"})
        content = RecordDict({"arrays": initial_arrays(), "config": config})
        list(grid.send_and_receive([Message(content, node, "train") for node in nodes]))
"""


def start_owner(tmp_path: Path) -> tuple[subprocess.Popen, list[int]]:
    root = Path(__file__).parents[4]
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    base = tmp_path / "segments"
    base.mkdir()
    path = f"{root}{os.pathsep}{root / 'tests' / 'support'}"
    owner = subprocess.Popen(
        [sys.executable, str(script), str(base)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert owner.stdout is not None
    return owner, [int(word) for word in owner.stdout.readline().split()]


def wait_until(happened: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process_id}/stat")
    return not status.exists() or ") Z " not in status.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_owner_told_to_stop_leaves_nothing(tmp_path: Path, number: signal.Signals):
    owner, workers = start_owner(tmp_path)
    assert len(workers) == 2
    owner.send_signal(number)
    assert owner.wait(60) != 0
    wait_until(lambda: not any(map(is_alive, workers)))
    assert list((tmp_path / "segments").iterdir()) == []


@pytest.mark.slow
def test_a_killed_owner_takes_its_workers_along_and_the_next_pool_sweeps(tmp_path: Path):
    owner, workers = start_owner(tmp_path)
    owner.kill()
    owner.wait(60)
    wait_until(lambda: not any(map(is_alive, workers)))
    base = tmp_path / "segments"
    (left,) = base.iterdir()
    assert left.name.startswith(PREFIX)
    with make_grid("flower_bench:misbehaving_app", base, 1) as grid:
        assert list(base.iterdir()) == [grid.segment_folder]
    assert list(base.iterdir()) == []


# --- segments ------------------------------------------------------------------------------------


def test_segments_hold_what_was_written_and_nothing_is_written_twice(tmp_path: Path):
    folder = SegmentFolder.create("t", tmp_path)
    folder.write("a", [b"012", memoryview(b"3456")])
    assert folder.read("a") == b"0123456"
    assert folder.read("a", 2, 3) == b"234"
    with pytest.raises(StoreError, match="exists"):
        folder.write("a", [b""])
    folder.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("offset", "size"), [(0, 8), (8, 1), (-1, 1), (3, -1)])
def test_a_read_past_the_end_is_refused(tmp_path: Path, offset: int, size: int):
    folder = SegmentFolder.create("t", tmp_path)
    folder.write("a", [b"0123456"])
    with pytest.raises(StoreError, match="holds 7 bytes"):
        folder.read("a", offset, size)
    folder.close()


@pytest.mark.parametrize("name", ["", "../a", "a/b", ".lock", "a b", "ä"])
def test_a_name_that_is_a_path_is_refused(tmp_path: Path, name: str):
    folder = SegmentFolder.create("t", tmp_path)
    with pytest.raises(StoreError, match="bad name"):
        folder.read(name)
    folder.close()


def test_a_sweep_spares_the_living(tmp_path: Path):
    folder = SegmentFolder.create("t", tmp_path)
    assert sweep(tmp_path) == []
    assert folder.path.exists()
    abandoned = tmp_path / f"{PREFIX}old-1"
    abandoned.mkdir()
    (abandoned / "x").write_bytes(b"1")
    assert sweep(tmp_path) == [abandoned]
    folder.close()


def test_a_write_that_fails_is_an_error_with_a_name(tmp_path: Path):
    folder = SegmentFolder.create("t", tmp_path)
    folder.close()
    with pytest.raises(StoreError, match="for 3 bytes"):
        folder.write("a", [b"12", b"3"])
