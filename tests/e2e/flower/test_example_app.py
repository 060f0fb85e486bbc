"""An unmodified Flower app, made verifiable by one mod and one strategy, on both engines."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from digits_federation import (
    PLAIN_APP,
    VARIABLE,
    DigitsFederation,
    digits_federation,
    make_verifiable,
)
from flower_deployment import environment, flwr_run, superlink, supernode
from flwr.app import Context, RecordDict

from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.round.chain_round import RoundStatus
from coordinator.protocol.types import RoundId
from simulations.engines.process import PoolGrid

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
        assert found.status is RoundStatus.FINAL
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


@pytest.mark.slow
def test_in_a_sealed_federation_it_takes_one_line_more(tmp_path, import_from, capsys, monkeypatch):
    """Its updates wait in Flower's own context until they are revealed: no file, no daemon."""
    app = tmp_path / "app"
    assert make_verifiable(app, sealed=True) == 6
    import_from(app)
    (tmp_path / "segments").mkdir()
    with digits_federation(tmp_path / "pool", sealed=True) as federation:
        monkeypatch.setenv(VARIABLE, str(tmp_path / "pool" / "federation.json"))
        nodes = dict(enumerate(federation.node_configs, start=2))
        printed = run_on_pool(nodes, tmp_path / "segments", capsys)
        assert printed.count("eval_acc") == 2
        check_rounds(federation)
        ledger = federation.chain.ledger
        assert [ledger.round(RoundId(n)).commitments_count for n in (1, 2)] == [2, 2]


def run_deployed(app: Path, tmp_path: Path, federation: DigitsFederation) -> str:
    """Run the app on a SuperLink and a SuperNode per contributor; return the run's log."""
    env = environment(tmp_path / "flwr")
    with ExitStack() as stack:
        stack.enter_context(superlink(tmp_path, env))
        for number, config in enumerate(federation.node_configs):
            stack.enter_context(supernode(tmp_path, env, number, config))
        return flwr_run(app, env, tmp_path, "fraction-evaluate=0.0")
