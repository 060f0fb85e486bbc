"""The examples of CONTRIBUTING.md: each written to a folder outside the package, and run."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coordinator.audit.verify.record_audit import RULE
from coordinator.audit.verify.run_audit import verify_run
from coordinator.protocol.errors import ConfigError
from simulations.experiment.load import load_experiment
from simulations.run.result import RunOptions
from simulations.run.simulation import run_experiment

PAGE = (Path(__file__).parents[3] / "CONTRIBUTING.md").read_text()
CONFIG = """
rounds = 2
partition = {clients = 4}
model = {kind = "logistic"}
training = {learning_rate = 0.5}
"""


def example(heading: str) -> str:
    """Return the code under a heading of the page, as a module of one's own has it."""
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert code, f"{heading}: no example"
    lines = code[1].splitlines(keepends=True)
    own = "".join(line for line in lines if "leave this line out" not in line)
    return re.sub(
        r"^from (?:coordinator|simulations)[\w.]* import", "from fedproof import", own, flags=re.M
    )


@pytest.fixture(autouse=True, scope="module")
def my_modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("mine")
    (folder / "my_attack.py").write_text(example("Add an attack"))
    (folder / "my_data.py").write_text(example("Add a data set"))
    (folder / "my_rules.py").write_text(example("Add an aggregation rule"))
    (folder / "my_scores.py").write_text(example("Add a score"))
    (folder / "my_partition.py").write_text(example("Add a partition"))
    (folder / "my_metrics.py").write_text(example("Add a metric"))
    (folder / "my_models.py").write_text(example("Add a model"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield


def run(folder: Path, *overrides: str) -> Any:
    config = folder / "mine.toml"
    config.write_text(CONFIG)
    experiment = load_experiment(config, overrides)
    return run_experiment(experiment, folder / "run", RunOptions(workers=1))


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "run" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_attack_and_the_data_set(tmp_path: Path) -> None:
    run(
        tmp_path,
        'data={kind="my_data:Blobs", distance=6.0}',
        'behaviours=[{kind="my_attack:LabelFlip", clients=[3], share=0.5}]',
    )
    assert float(rows(tmp_path)[-1]["test_accuracy"]) > 0.9
    assert '"my_data:Blobs"' in (tmp_path / "run" / "config.json").read_text()
    assert '"my_attack:LabelFlip"' in (tmp_path / "run" / "contributors.json").read_text()


def test_the_partition(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        'data={kind="my_data:Blobs"}',
        'partition={kind="my_partition:ByLabel", clients=4}',
    )
    assert [person.examples for person in done.contributors] == [100] * 4
    # sorted by label, then cut: the two halves have opposite labels, so all train, and disagree
    assert [row["contributors"] for row in rows(tmp_path)] == ["4", "4"]


def test_the_model(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        'data={kind="my_data:Blobs", distance=6.0}',
        'model={kind="my_models:Normed", width=16}',
    )
    assert float(rows(tmp_path)[-1]["test_accuracy"]) > 0.9
    assert done.rounds[0].model_root != done.rounds[1].model_root
    assert verify_run(tmp_path / "run").ok


def test_the_metric(tmp_path: Path) -> None:
    run(
        tmp_path,
        "rounds=3",
        "evaluation.every=2",
        'data={kind="my_data:Blobs", distance=6.0}',
        'metrics=[{kind="my_metrics:TopK", k=2}, "class_accuracy"]',
    )
    first, second, last = rows(tmp_path)
    names = ["my_metrics:TopK", "class_accuracy.left", "class_accuracy.right"]
    assert [first[f"metrics.{name}"] for name in names] == ["", "", ""]
    for row in (second, last):
        assert row["metrics.my_metrics:TopK"] == "1.0"  # one of two classes is among the first two
        halves = [float(row[f"metrics.{name}"]) for name in names[1:]]
        assert sum(halves) / 2 == pytest.approx(float(row["test_accuracy"]))
    report = (tmp_path / "run" / "report.md").read_text()
    assert "| round | class_accuracy.left | class_accuracy.right | my_metrics:TopK |" in report
    assert (tmp_path / "run" / "plots" / "metrics.png").stat().st_size > 1_000
    assert verify_run(tmp_path / "run").ok


def test_two_metrics_of_a_kind_with_names_of_their_own(tmp_path: Path) -> None:
    run(
        tmp_path,
        "rounds=1",
        'data={kind="my_data:Blobs", distance=6.0}',
        'metrics=[{kind="my_metrics:TopK", name="top_1", k=1}, {kind="my_metrics:TopK", k=2}, '
        '{kind="class_accuracy", name="recall"}]',
    )
    (row,) = rows(tmp_path)
    names = ["my_metrics:TopK", "recall.left", "recall.right", "top_1"]
    assert [key for key in row if key.startswith("metrics.")] == [f"metrics.{n}" for n in names]
    assert row["metrics.top_1"] == row["test_accuracy"]
    report = (tmp_path / "run" / "report.md").read_text()
    assert f"| round | {' | '.join(names)} |" in report
    assert '| metrics[0] | `my_metrics:TopK` | `k = 1, name = "top_1"` |' in report
    assert verify_run(tmp_path / "run").ok


def test_the_report_shows_the_options_of_everything(tmp_path: Path) -> None:
    run(
        tmp_path,
        "rounds=1",
        'data={kind="my_data:Blobs", distance=6.0}',
        "partition.clients=5",
        'aggregator={kind="my_rules:KRUM", num_byzantine=1, keep=2}',
        'scoring={kind="my_scores:BY_NORM", cap=1000000}',
        'behaviours=[{kind="my_attack:LabelFlip", clients=[3], share=0.5}, '
        '{kind="sign_flip", clients=[4], scale=5.0}]',
    )
    report = (tmp_path / "run" / "report.md").read_text()
    settings = report.split("## Settings\n", 1)[1]
    by_section = dict(re.findall(r"^\| (\S+) \| (.*) \|$", settings, re.MULTILINE))
    assert by_section["aggregator"].startswith("`my_rules:KRUM` | `")
    assert "keep = 2" in by_section["aggregator"]
    assert by_section["scoring"] == "`my_scores:BY_NORM` | `cap = 1000000`"
    assert "`my_attack:LabelFlip`" in by_section["behaviours[0]"]
    assert "share = 0.5" in by_section["behaviours[0]"]
    assert "scale = 5.0" in by_section["behaviours[1]"]
    assert by_section["partition"] == "`iid` | `clients = 5`"
    assert "distance = 6.0" in by_section["data"]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    sections = {key for key, value in config.items() if isinstance(value, dict)}
    assert sections < by_section.keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.pop("metrics"), "expected an object with"),
        (lambda row: row["metrics"].clear(), "expected a value of f1"),
        (lambda row: row["metrics"].update(f2=0.5), "f2: expected values of ['auc', 'f1'] only"),
        (lambda row: row["metrics"].update(f1="0.5"), "f1: found '0.5', expected a number"),
        (lambda row: row["metrics"].update(f1=0.25), "metrics.csv"),
    ],
)
def test_an_audit_reads_what_metrics_measured(tmp_path: Path, change: Any, message: str) -> None:
    run(tmp_path, "rounds=1", 'data={kind="my_data:Blobs"}', 'metrics=["f1", "auc"]')
    path = tmp_path / "run" / "metrics.jsonl"
    row = json.loads(path.read_text())
    change(row)
    path.write_text(json.dumps(row, sort_keys=True) + "\n")
    faults = [fault for fault in verify_run(tmp_path / "run").faults if fault.rule == RULE]
    assert any(message in f"{fault.artifact}: {fault.detail}" for fault in faults), faults


def test_an_option_that_mine_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'unknown key "data.distanc"; did you mean "distance"\?'):
        run(tmp_path, 'data={kind="my_data:Blobs", distanc=6.0}')


def test_the_rule_and_the_score(tmp_path: Path) -> None:
    run(
        tmp_path,
        'data={kind="my_data:Blobs", distance=6.0}',
        "partition.clients=5",
        'aggregator={kind="my_rules:KRUM", num_byzantine=1, keep=2}',
        'scoring={kind="my_scores:BY_NORM", cap=1000000}',
        'behaviours=[{kind="sign_flip", clients=[4], scale=5.0}]',
    )
    assert float(rows(tmp_path)[-1]["test_accuracy"]) > 0.9
    findings = verify_run(tmp_path / "run")
    assert findings.ok, findings.faults


def test_a_rule_asks_for_its_own_bound(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"2f \+ 2 < n"):
        run(
            tmp_path,
            'data={kind="my_data:Blobs"}',
            'aggregator={kind="my_rules:KRUM", num_byzantine=1}',
        )


@pytest.mark.parametrize(
    ("aggregator", "message"),
    [
        ('{kind="my_rules:KRUM", kep=2}', 'unknown key "aggregator.kep"'),
        ('{kind="my_rules:KRUM", keep=0}', "keep"),
        ('{kind="my_rules:krum"}', "my_rules:krum"),
        ('{kind="no_such_module:KRUM"}', "no_such_module"),
        ('{kind="krum"}', "krum"),
    ],
)
def test_a_wrong_rule_is_named(tmp_path: Path, aggregator: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        run(tmp_path, 'data={kind="my_data:Blobs"}', f"aggregator={aggregator}")


def test_set_takes_the_options_of_a_kind_from_outside_out_with_it(tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    rule = 'aggregator = {kind = "my_rules:KRUM", num_byzantine = 0, keep = 2}'
    attack = 'behaviours = [{kind = "my_attack:LabelFlip", clients = [3], share = 0.5}]'
    config.write_text(f"{CONFIG}{rule}\n{attack}\n")
    changed = load_experiment(config, ["aggregator.kind=fedavg", "behaviours.0.kind=noise"])
    assert changed.aggregator.kind == "fedavg"
    assert changed.behaviours[0].kind == "noise"


def test_a_metric_that_raises_is_its_authors_mistake(tmp_path: Path) -> None:
    (tmp_path / "raising_metric.py").write_text(
        "from fedproof import Metric\n\n\nclass Raises(Metric):\n"
        "    def measure(self, given):\n        return [][1]\n"
    )
    expected = r"Raises\": measure raised IndexError: list index .* \(raising_metric.py, line 6\)"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        with pytest.raises(ConfigError, match=expected):
            run(tmp_path, 'data={kind="my_data:Blobs"}', 'metrics=["raising_metric:Raises"]')
