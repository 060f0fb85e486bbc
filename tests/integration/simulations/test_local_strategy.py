"""A Flower app of one's own with a federation of its own: a folder that verify accepts."""

import json
import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from flower_bench import LocalGrid, app_with, deliver_honestly, initial_arrays
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict

from coordinator.stores.run_folder import RunFolder
from fedproof import (
    AggregationError,
    ConfigError,
    FedproofStrategy,
    VerifiableUpdates,
    local_participant,
    verify,
)
from simulations.report.markdown import write_report

CLIENTS = 3


def grid_of(folder: Path, deliver=deliver_honestly) -> LocalGrid:
    """Return a grid whose nodes are numbered as Flower's simulation numbers them."""
    apps = {
        client + 2: app_with([VerifiableUpdates(local_participant(folder))])
        for client in range(CLIENTS)
    }
    grid = LocalGrid(apps, deliver)
    for client in range(CLIENTS):
        config = {"client": client, "partition-id": client, "num-partitions": CLIENTS}
        grid.contexts[client + 2] = Context(1, client + 2, config, RecordDict(), {})
    return grid


def local(folder: Path, **options) -> FedproofStrategy:
    return FedproofStrategy.local(initial_arrays(), contributors=CLIENTS, folder=folder, **options)


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def roots(folder: Path) -> list[str]:
    return [row["model_root"] for row in metrics(folder)]


def without_node_4(message: Message, answer) -> Iterable[Message]:
    return [] if message.metadata.dst_node_id == 4 else [answer(message)]


def never(message: Message, answer) -> Iterable[Message]:
    return []


def test_the_run_ends_in_a_folder_that_verifies(tmp_path, caplog):
    folder = tmp_path / "run"
    with caplog.at_level(logging.INFO, logger="flwr"):
        strategy = local(folder)
        result = strategy.start(grid_of(folder, without_node_4), initial_arrays(), num_rounds=2)
    findings = verify(folder)
    assert findings.ok, findings.faults
    assert [(row.round_id, row.contributors) for row in findings.rounds] == [(1, 2), (2, 2)]
    # clients 0 and 1 add 1/8 and 2/8, weighted 10 and 20, twice
    step = np.float32((10 * 0.125 + 20 * 0.25) / 30)
    assert result.arrays["layer.bias"].numpy() == pytest.approx(
        [-1 + 2 * step, 0.5 + 2 * step], abs=2**-19
    )
    assert sorted(result.evaluate_metrics_clientapp) == [1, 2]
    said = caplog.text
    assert "[ROUND 2/2]" in said
    assert "configure_train: Sampled 3 nodes" in said
    assert "aggregate_train: Accepted 2 updates and refused 1" in said
    assert "Refused node 4: reply: no-reply: nothing came before the timeout" in said
    assert "'loss': 0.25" in said
    assert "Strategy execution finished" in said
    people = json.loads((folder / "contributors.json").read_text())
    assert [(p["examples"], p["accepted"]) for p in people] == [(10, 2), (20, 2), (0, 0)]
    assert [p["claimed_wei"] > 0 for p in people] == [True, True, False]


def test_the_scoring_document_is_published_with_the_plan(tmp_path):
    folder = tmp_path / "run"
    strategy = local(folder)
    (scoring,) = [
        file
        for file in (folder / "blobs").rglob("*.bin")
        if file.read_bytes().startswith(b'{"') and b'"examples"' in file.read_bytes()
    ]
    strategy.start(grid_of(folder), initial_arrays(), num_rounds=1)
    assert scoring.exists()
    assert verify(folder).ok


def test_an_interrupted_run_goes_on_to_the_same_roots(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    local(whole).start(grid_of(whole), initial_arrays(), num_rounds=2)

    def stop_after_one(server_round: int, arrays: ArrayRecord) -> None:
        if server_round == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        local(broken).start(
            grid_of(broken), initial_arrays(), num_rounds=2, evaluate_fn=stop_after_one
        )
    assert verify(broken, partial=True).ok
    strategy = local(broken)
    assert strategy.completed_rounds == 1
    strategy.start(grid_of(broken), initial_arrays(), num_rounds=2)
    assert verify(broken).ok
    assert roots(broken) == roots(whole)


def test_a_run_that_is_complete_already_returns_the_trained_model(tmp_path):
    folder = tmp_path / "run"
    strategy = local(folder)

    def stop_after_two(server_round: int, arrays: ArrayRecord) -> None:
        if server_round == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        strategy.start(grid_of(folder), initial_arrays(), num_rounds=3, evaluate_fn=stop_after_two)
    result = local(folder).start(grid_of(folder), initial_arrays(), num_rounds=2)
    assert result.arrays["layer.bias"].numpy()[0] > -1
    assert verify(folder).ok


def test_a_run_in_which_nothing_was_sealed_ends_with_an_error(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(AggregationError, match=r"no round was sealed.*round 2: .*updates"):
        local(folder).start(grid_of(folder, never), initial_arrays(), num_rounds=2)
    assert [row["status"] for row in metrics(folder)] == ["void", "void"]
    assert verify(folder).ok


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("layer.bias", np.zeros(2, np.float32), "the model the federation agreed on"),
        ("layer.bias", np.zeros(3, np.float32), "the federation agreed on 2 with 8"),
        ("more", np.zeros(2, np.float32), "3 tensors with 10 parameters"),
    ],
)
def test_other_arrays_are_refused_before_a_round_is_opened(tmp_path, name, array, message):
    folder = tmp_path / "run"
    other = initial_arrays()
    other[name] = Array(array)
    with pytest.raises(ConfigError, match=message):
        local(folder).start(grid_of(folder), other)
    strategy = local(folder)
    assert strategy.completed_rounds == 0
    assert strategy.service.next_model()[1] == strategy.service._ledger.head().model_root
    assert strategy.service._ledger.head().last_opened == 0
    strategy.start(grid_of(folder), initial_arrays(), num_rounds=1)
    assert verify(folder).ok


def test_a_finished_folder_is_refused_or_deleted_on_demand(tmp_path):
    folder = tmp_path / "run"
    local(folder).start(grid_of(folder), initial_arrays(), num_rounds=1)
    with pytest.raises(ConfigError, match=r"holds a finished run.*fresh=True"):
        local(folder)
    with pytest.raises(ConfigError, match="holds a run of another configuration"):
        local(folder, config={"seed": 9})
    local(folder, fresh=True).start(grid_of(folder), initial_arrays(), num_rounds=2)
    assert verify(folder).ok
    assert len(metrics(folder)) == 2


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="is not empty and holds no run"):
        local(tmp_path, fresh=False)
    with pytest.raises(ConfigError, match="it is not deleted"):
        local(tmp_path, fresh=True)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"aggregator": {"kind": "medium"}}, "aggregator.kind"),
        ({"cohort": {"min_contributors": 4}}, r"cohort.min_contributors = 4 is more than"),
        ({"cohort": {"size": 2}}, "cohort.size = 2: expected none"),
        ({"scoring": {"kind": "leave_one_out"}}, "scores on an evaluation set"),
        ({"contributors": 2}, "contributors is no setting to give"),
        ({"data": {"kind": "digits"}}, "data"),
    ],
)
def test_a_bad_setting_is_named_and_leaves_nothing(tmp_path, config, message):
    with pytest.raises(ConfigError, match=message):
        local(tmp_path / "run", config=config)
    assert not (tmp_path / "run").exists()


def test_too_many_contributors_or_none_are_refused(tmp_path):
    for number in (0, 10_001):
        with pytest.raises(ConfigError, match="contributors"):
            FedproofStrategy.local(initial_arrays(), contributors=number, folder=tmp_path / "run")


def test_a_bad_option_of_the_strategy_lets_go_of_the_folder(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(ConfigError, match="fraction_train is 2"):
        local(folder, fraction_train=2.0)
    local(folder).start(grid_of(folder), initial_arrays(), num_rounds=1)
    assert verify(folder).ok


def test_a_strategy_with_a_loop_of_its_own_finishes_by_itself(tmp_path):
    folder = tmp_path / "run"

    class TwoRounds(FedproofStrategy):
        def start(self, grid, arrays):
            for number in (1, 2):
                messages = self.configure_train(number, arrays, ConfigRecord(), grid)
                aggregated, _ = self.aggregate_train(number, grid.send_and_receive(messages))
                arrays = aggregated or arrays
            self.finish()
            return arrays

    strategy = TwoRounds.local(initial_arrays(), contributors=CLIENTS, folder=folder)
    arrays = strategy.start(grid_of(folder), initial_arrays())
    assert arrays["layer.bias"].numpy()[0] > -1
    findings = verify(folder)
    assert findings.ok, findings.faults
    assert len(findings.rounds) == 2


def test_another_rule_and_sealed_rounds(tmp_path):
    folder = tmp_path / "run"
    config = {"aggregator": {"kind": "median"}, "cohort": {"sealed": True}, "name": "mine"}
    result = local(folder, config=config).start(grid_of(folder), initial_arrays(), num_rounds=1)
    assert result.arrays["layer.bias"].numpy().tolist() == [-0.75, 0.75]  # client 1 adds 2/8
    assert verify(folder).ok


def test_the_report_is_drawn_without_data_or_model(tmp_path):
    folder = tmp_path / "run"
    local(folder).start(grid_of(folder), initial_arrays(), num_rounds=1)
    text = write_report(RunFolder(folder)).read_text()
    assert "a Flower app of one's own" in text
    assert verify(folder).ok


def refusal_of(folder: Path, node_config: dict) -> str:
    """Return why a contributor declines a message of a run in progress."""
    context = Context(1, 2, node_config, RecordDict(), {})
    with pytest.raises(ConfigError) as caught:
        local_participant(folder)(context)
    return str(caught.value)


@pytest.mark.parametrize("number", [None, -1, 3, "0", True])
def test_a_node_without_a_contributors_number_is_refused(tmp_path, number):
    folder = tmp_path / "run"
    strategy = local(folder)
    config = {} if number is None else {"partition-id": number}
    assert f"partition-id is {number!r}, expected" in refusal_of(folder, config)
    strategy.start(grid_of(folder), initial_arrays(), num_rounds=1)
    assert "its run is over" in refusal_of(folder, {"partition-id": 0})


def test_a_folder_without_a_federation_is_named(tmp_path):
    said = refusal_of(tmp_path / "nowhere", {"partition-id": 0})
    assert "nowhere/config.json: cannot be read" in said
    assert "FedproofStrategy.local" in said


def test_what_a_service_says_of_its_initial_model(tmp_path):
    folder = tmp_path / "run"
    strategy = local(folder)
    before = strategy.service.initial_arrays()
    assert {n: a.tolist() for n, a in before.items()} == {
        n: a.numpy().tolist() for n, a in initial_arrays().items()
    }
    arrays = initial_arrays()
    list(strategy.configure_train(1, arrays, ConfigRecord(), grid_of(folder)))
    after = strategy.service.initial_arrays()
    assert after["layer.bias"].tolist() == before["layer.bias"].tolist()
    strategy._federation.close()


OUTSIDE = """
from fedproof import AggregationRule, weighted_mean


def rule(aggregate):
    return AggregationRule(
        number=1, name="mine", aggregate=aggregate, fewest=lambda f: 1, bound="f = 0",
        withstands_byzantine=False,
    )


GOOD = rule(lambda given: weighted_mean(given.updates, given.weights))
FLOATS = rule(lambda given: given.updates[0] / 2)
"""


def test_a_rule_from_outside_is_tried_first_and_named_in_what_verifies(
    tmp_path, caplog, monkeypatch
):
    (tmp_path / "local_rules.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "run"
    with pytest.raises(ConfigError, match="aggregate of rule local_rules:FLOATS has dtype"):
        local(folder, config={"aggregator": {"kind": "local_rules:FLOATS"}})
    assert not folder.exists()
    with caplog.at_level(logging.INFO, logger="flwr"):
        strategy = local(folder, config={"aggregator": {"kind": "local_rules:GOOD"}})
        strategy.start(grid_of(folder), initial_arrays(), num_rounds=1)
    assert f"fedproof verify {folder} --extension local_rules:GOOD" in caplog.text
    assert verify(folder).ok


def test_finishing_twice_is_said_and_changes_nothing(tmp_path):
    folder = tmp_path / "run"
    strategy = local(folder)
    strategy.start(grid_of(folder), initial_arrays(), num_rounds=1)
    before = (folder / "SHA256SUMS").read_bytes()
    strategy.finish()
    assert (folder / "SHA256SUMS").read_bytes() == before
    assert verify(folder).ok


@pytest.mark.parametrize(
    ("arrays", "found"),
    [
        ([np.frombuffer(b'{"learner":{}}', np.uint8)], r"1 arrays \(uint8\)"),
        ([np.zeros(3, np.int64), np.zeros(2, np.uint8)], r"2 arrays \(int64, uint8\)"),
        ([], r"0 arrays \(none\)"),
    ],
    ids=["trees", "integers", "nothing"],
)
def test_a_model_that_is_no_vector_is_refused(tmp_path, arrays, found):
    with pytest.raises(ConfigError, match=f"no floating-point array, found {found}.*forest"):
        FedproofStrategy.local(ArrayRecord(arrays), contributors=2, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()
