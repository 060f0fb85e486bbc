"""An unmodified Flower app, made verifiable by one mod and one strategy, on both engines."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from digits_federation import (
    PLAIN_APP,
    VARIABLE,
    DigitsFederation,
    digits_federation,
    make_verifiable,
)
from flwr.app import Context, RecordDict

from coordinator.core.manifest import Manifest
from coordinator.core.types import RoundId
from simulations.engines.process import PoolGrid

ROOT = Path(__file__).parents[3]
RUN_CONFIG = {"num-server-rounds": 2, "fraction-evaluate": 1.0, "local-epochs": 1, "lr": 0.1}


@pytest.fixture
def import_from(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Return what makes ``digits_app`` come from a folder, for the length of a test."""

    def forget() -> None:
        for name in [n for n in sys.modules if n.split(".")[0] == "digits_app"]:
            del sys.modules[name]

    def use(folder: Path) -> None:
        forget()
        monkeypatch.syspath_prepend(folder)

    yield use
    forget()


def run_on_pool(nodes: dict[int, dict], base: Path, capsys: pytest.CaptureFixture) -> str:
    """Run the app's own ServerApp on the process pool; return what it printed."""
    from digits_app.server_app import app

    with PoolGrid(
        "digits_app.client_app:app",
        nodes,
        workers=2,
        run_config=RUN_CONFIG,
        segment_base=base,
        preload=("torch", "simulations.engines.worker"),
    ) as grid:
        app(grid, Context(1, 1, {}, RecordDict(), dict(RUN_CONFIG)))
    return capsys.readouterr().out


def check_rounds(federation: DigitsFederation) -> list[str]:
    """Check what two rounds left on chain and in the store; return their model roots."""
    ledger = federation.chain.ledger
    manifest = Manifest.from_json(_manifest(federation))
    roots = []
    for number in (1, 2):
        found = ledger.round(RoundId(number))
        assert found.status == "final"
        assert found.n == 2
        assert found.total_examples == 1797
        assert found.paid_wei > 0
        model = federation.store.get_vector(found.new_model_root, manifest)
        assert model.shape == (64 * 16 + 16 + 16 * 10 + 10,)
        roots.append(found.new_model_root.hex())
    assert ledger.round(RoundId(2)).model_root.hex() == roots[0]
    return roots


def _manifest(federation: DigitsFederation) -> bytes:
    from digits_federation import plan

    return plan()[0].manifest.to_json()


def test_the_change_is_one_mod_and_one_strategy(tmp_path: Path):
    assert make_verifiable(tmp_path / "app") == 5  # three imports, two lines


@pytest.mark.slow
def test_the_plain_app_runs_on_the_pool_unmodified(tmp_path, import_from, capsys):
    import_from(PLAIN_APP)
    nodes = {i + 2: {"partition-id": i, "num-partitions": 2} for i in range(2)}
    printed = run_on_pool(nodes, tmp_path, capsys)
    assert printed.count("eval_acc") == 2


@pytest.mark.slow
@pytest.mark.timeout(600)  # Flower polls every 3 s and starts a process per message
def test_the_app_is_verifiable_on_the_pool_and_on_flowers_own_engine(
    tmp_path, import_from, capsys, monkeypatch
):
    app = tmp_path / "app"
    make_verifiable(app)
    import_from(app)
    (tmp_path / "segments").mkdir()
    roots = []
    with digits_federation(tmp_path / "pool") as federation:
        monkeypatch.setenv(VARIABLE, str(tmp_path / "pool" / "federation.json"))
        nodes = dict(enumerate(federation.node_configs, start=2))
        printed = run_on_pool(nodes, tmp_path / "segments", capsys)
        assert printed.count("eval_acc") == 2
        roots.append(check_rounds(federation))
    with digits_federation(tmp_path / "deployed") as federation:
        monkeypatch.setenv(VARIABLE, str(tmp_path / "deployed" / "federation.json"))
        printed = run_deployed(app, tmp_path, federation)
        assert "FINISHED" in printed
        roots.append(check_rounds(federation))
    assert roots[0] == roots[1]


# --- Flower's deployment engine, on loopback ---------------------------------------------------


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def process(command: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen]:
    """Run a command in a session of its own, and end the whole session at the end."""
    with log.open("w") as output:
        started = subprocess.Popen(
            [str(Path(sys.executable).parent / command[0]), *command[1:]],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
        )
        try:
            yield started
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(started.pid, number)
                    started.wait(10)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    continue
            started.wait(10)


def wait_for_port(port: int, started: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert started.poll() is None, log.read_text()[-3000:]
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"nothing listens on {port}: {log.read_text()[-3000:]}")


def run_deployed(app: Path, tmp_path: Path, federation: DigitsFederation) -> str:
    """Run the app on a SuperLink and a SuperNode per contributor; return the run's log."""
    home = tmp_path / "flwr"
    home.mkdir()
    port = free_port()
    (home / "config.toml").write_text(
        '[superlink]\ndefault = "loop"\n\n[superlink.loop]\n'
        f'address = "127.0.0.1:{port}"\ninsecure = true\n'
    )
    env = {
        **os.environ,
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "support"))),
    }
    with ExitStack() as stack:
        log = tmp_path / "superlink.log"
        link = stack.enter_context(
            process(
                ["flower-superlink", "--insecure", "--host", "127.0.0.1", "--port", str(port)],
                env,
                log,
            )
        )
        wait_for_port(port, link, log)
        for number, config in enumerate(federation.node_configs):
            settings = " ".join(
                f"{name}={value}" if isinstance(value, int) else f'{name}="{value}"'
                for name, value in config.items()
            )
            command = ["flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{port}"]
            command += ["--host", "127.0.0.1", "--port", str(free_port())]
            command += ["--node-config", settings]
            stack.enter_context(process(command, env, tmp_path / f"node{number}.log"))
        done = subprocess.run(
            ["flwr", "run", str(app), "loop", "--stream", "--run-config", "fraction-evaluate=0.0"],
            env=env,
            capture_output=True,
            text=True,
            timeout=540,
            check=False,
        )
        logs = "".join(f.read_text()[-4000:] for f in sorted(tmp_path.glob("*.log")))
        assert done.returncode == 0, done.stdout + done.stderr + logs
        return done.stdout + done.stderr
