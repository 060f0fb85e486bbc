"""Attacks from outside the package, carried out in whole runs: on data, in collusion, late."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.node.node import EmbeddedNode
from coordinator.protocol.commitments.documents import contributor_entries
from coordinator.protocol.errors import ConfigError
from coordinator.stores.disk import DiskStore
from simulations.data import load_dataset
from simulations.experiment.load import load_experiment
from simulations.run.agreement import agree
from simulations.run.result import RunOptions
from simulations.run.simulation import run_experiment

MODULE = '''
"""Attacks of somebody who has only installed the package."""

from dataclasses import replace

import numpy as np
from pydantic import Field

from simulations.attacks.contributor import ContributorAttack


class LabelFlip(ContributorAttack):
    """Trains on the labels counted from the other end."""

    share: float = Field(default=1.0, gt=0.0, le=1.0)

    def change_data(self, data, context):
        flipped = data.y.copy()
        count = round(self.share * len(flipped))
        flipped[:count] = data.num_classes - 1 - flipped[:count]
        return replace(data, y=flipped)


class MeanOfUs(ContributorAttack):
    """Every colluder sends the mean of what they would have sent, and one common draw."""

    def change_update(self, update, context):
        mean = np.mean([v.astype(np.float64) for v in context.benign.values()], axis=0)
        common = context.shared_generator.integers(0, 3, update.shape)
        return np.rint(mean).astype(np.int32) + common.astype(np.int32)


class Late(ContributorAttack):
    """Answers late; at the stages of ``after`` not at all."""

    seconds: int
    never: list[str] = []

    def delay_s(self, stage, context):
        return None if stage in self.never else self.seconds


class Broken(ContributorAttack):
    """Returns what it must not."""

    def change_update(self, update, context):
        return update.astype(np.float32)
'''

CONFIG = """
seed = 3
rounds = 2

[data]
kind = "digits"
max_train = 240

[partition]
kind = "iid"
clients = 5

[model]
kind = "logistic"

[training]
batch_size = 12
learning_rate = 0.5

[cohort]
min_contributors = 2
"""


@pytest.fixture(autouse=True, scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "my_attacks.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield


def run(folder: Path, table: str, *overrides: str, workers: int = 1) -> list[dict[str, Any]]:
    folder.mkdir(exist_ok=True)
    config = folder / "mine.toml"
    config.write_text(f"{CONFIG}\n[[behaviours]]\n{table}\n")
    out = folder / "run"
    run_experiment(load_experiment(config, overrides), out, RunOptions(workers=workers))
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def people(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / "run" / "contributors.json").read_text())
    return rows


def first_updates(folder: Path) -> dict[int, np.ndarray]:
    """The updates of a run's first round, by client."""
    run_folder = folder / "run"
    record = json.loads((run_folder / "metrics.jsonl").read_text().splitlines()[0])
    clients = {person["address"]: person["client"] for person in people(folder)}
    agreement = agree(load_experiment(folder / "mine.toml"), digits())
    store = DiskStore(run_folder / "blobs", read_only=True)
    document = store.get_document("contributors", bytes.fromhex(record["contributors_root"]))
    return {
        clients[entry.leaf.contributor]: store.get_vector(
            entry.leaf.update_root, agreement.plan.manifest
        )
        for entry in contributor_entries(document)
    }


def digits() -> Any:
    used = load_experiment("quickstart", ["data={kind='digits',max_train=240}", "seed=3"])
    return load_dataset(used.data, None, used.seed)


def longest_gaps_s(folder: Path) -> list[int]:
    """The two longest steps of chain time between two blocks of a run."""
    with EmbeddedNode.open_read_only(folder / "run" / "chain" / "chain.sqlite") as node:
        times = [node.get_block(n).timestamp for n in range(node.head_number + 1)]  # type: ignore[union-attr]
    return sorted(np.diff(times).tolist())[-2:]


@pytest.fixture(scope="module")
def late_run(elsewhere: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("late")
    run(folder, 'kind = "my_attacks:Late"\nclients = [1]\nseconds = 900')
    return folder


@pytest.fixture(scope="module")
def honest(late_run: Path) -> dict[int, np.ndarray]:
    """What everybody sends who is honest; when it is sent changes nothing."""
    return first_updates(late_run)


def test_flipped_labels_change_the_attackers_update_and_no_other(
    tmp_path: Path, honest: dict[int, np.ndarray]
) -> None:
    rounds = run(tmp_path, 'kind = "my_attacks:LabelFlip"\nclients = [4]\nshare = 1')
    flipped = first_updates(tmp_path)
    changed = [n for n in range(5) if not np.array_equal(flipped[n], honest[n])]
    assert changed == [4]
    # trained towards the opposite classes: against the honest direction
    assert np.dot(flipped[4].astype(float), honest[4].astype(float)) < 0
    assert [record["contributors"] for record in rounds] == [5, 5]
    assert people(tmp_path)[4]["behaviour"] == "my_attacks:LabelFlip"


def test_colluders_know_what_they_would_have_sent_with_any_number_of_workers(
    tmp_path: Path, honest: dict[int, np.ndarray]
) -> None:
    table = 'kind = "my_attacks:MeanOfUs"\nclients = [2, 4]'
    one, two = run(tmp_path / "1", table), run(tmp_path / "2", table, workers=2)
    assert [r["contributors_root"] for r in one] == [r["contributors_root"] for r in two]
    sent = first_updates(tmp_path / "1")
    np.testing.assert_array_equal(sent[2], sent[4])
    mean = np.rint((honest[2].astype(float) + honest[4].astype(float)) / 2)
    assert sorted(set((sent[2] - mean).tolist())) == [0, 1, 2]
    for client in (0, 1, 3):
        np.testing.assert_array_equal(sent[client], honest[client])


def test_colluders_are_those_of_the_cohort(tmp_path: Path) -> None:
    table = 'kind = "my_attacks:MeanOfUs"\nclients = [0, 1, 2, 3, 4]'
    run(tmp_path, table, "cohort.size=2")
    sent = first_updates(tmp_path)
    assert len(sent) == 2
    first, second = sent.values()
    np.testing.assert_array_equal(first, second)


def test_a_late_reply_is_taken_and_chain_time_has_passed(late_run: Path) -> None:
    assert [person["accepted"] for person in people(late_run)] == [2] * 5
    assert min(longest_gaps_s(late_run)) > 800


def test_a_reply_at_the_deadline_misses_the_round(tmp_path: Path) -> None:
    rounds = run(tmp_path, 'kind = "my_attacks:Late"\nclients = [1]\nseconds = 3600')
    assert [record["contributors"] for record in rounds] == [4, 4]
    assert max(longest_gaps_s(tmp_path)) < 100


def test_a_contributor_may_commit_and_never_reveal(tmp_path: Path) -> None:
    table = 'kind = "my_attacks:Late"\nclients = [1]\nseconds = 900\nnever = ["reveal"]'
    rounds = run(tmp_path, table, "cohort.sealed=true")
    assert [record["contributors"] for record in rounds] == [4, 4]
    assert min(longest_gaps_s(tmp_path)) > 800
    assert people(tmp_path)[1]["refusals"] == {"no-reply": 2}


def test_a_broken_attack_ends_the_run_and_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        run(tmp_path, 'kind = "my_attacks:Broken"\nclients = [1]')
    assert str(caught.value) == (
        'behaviours.kind = "my_attacks:Broken", client 1, round 1: change_update returned '
        "float32 (650,), expected int32 (650,)"
    )
