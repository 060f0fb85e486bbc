"""Metrics by hand-worked values, and what an experiment may say of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from coordinator.protocol.errors import ConfigError
from simulations.experiment.schema import Experiment
from simulations.metrics import METRICS, Metric, Predictions, measure
from simulations.metrics.auc import Auc
from simulations.metrics.balanced_accuracy import BalancedAccuracy
from simulations.metrics.class_accuracy import ClassAccuracy
from simulations.metrics.f1 import F1


def predictions(rows: Any, labels: list[int]) -> Predictions:
    probabilities = np.array(rows, np.float64)
    names = tuple("abcd"[: probabilities.shape[1]])
    return Predictions(probabilities, np.array(labels, np.int64), names)


def decided(predicted: list[int], labels: list[int], classes: int) -> Predictions:
    return predictions(np.eye(classes)[predicted], labels)


# class 0: 3 of 4 right, class 1: 1 of 2 right, class 2: 0 of 1 right, class 3: never there
UNEQUAL = decided([0, 0, 0, 1, 1, 0, 1], [0, 0, 0, 0, 1, 1, 2], 4)


def test_the_confusion_has_a_row_for_each_true_class() -> None:
    assert UNEQUAL.confusion().tolist() == [[3, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0] * 4]


def test_balanced_accuracy_is_the_mean_recall_of_the_classes_that_are_there() -> None:
    assert BalancedAccuracy().measure(UNEQUAL) == pytest.approx((3 / 4 + 1 / 2 + 0) / 3)


def test_class_accuracy_has_a_value_a_class_and_none_without_examples() -> None:
    assert ClassAccuracy().measure(UNEQUAL) == {"a": 0.75, "b": 0.5, "c": 0.0, "d": None}


def test_f1_by_class_and_by_examples() -> None:
    # F1: class 0 is 2*3/(4+4), class 1 is 2*1/(2+3), class 2 is 0
    assert F1().measure(UNEQUAL) == pytest.approx((6 / 8 + 2 / 5 + 0) / 3)
    assert F1(average="weighted").measure(UNEQUAL) == pytest.approx((4 * 6 / 8 + 2 * 2 / 5) / 7)


def test_auc_counts_pairs_in_the_right_order_and_half_of_equal_ones() -> None:
    second = np.array([0.1, 0.4, 0.4, 0.8])
    given = predictions(np.stack([1 - second, second], axis=1), [0, 0, 1, 1])
    assert Auc().measure(given) == 3.5 / 4
    swapped = predictions(np.stack([1 - second, second], axis=1), [1, 1, 0, 0])
    assert Auc().measure(swapped) == 0.5 / 4


def test_auc_of_more_classes_is_the_mean_of_each_against_the_rest() -> None:
    rows = [[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.3, 0.1, 0.6], [0.1, 0.7, 0.2]]
    # class 0: 0.6 against 0.2, 0.3 and 0.1; class 1: 0.5 and 0.1 against 0.3 and 0.7; class 2: 0.2
    # against 0.1, 0.3 and 0.6
    given = predictions(rows, [0, 1, 1, 2])
    first, second, third = 3 / 3, 1 / 4, 1 / 3
    assert Auc().measure(given) == pytest.approx((first + second + third) / 3)


def test_auc_is_undefined_of_one_class_and_of_a_model_that_diverged() -> None:
    assert Auc().measure(predictions([[0.5, 0.5]], [1])) is None
    assert Auc().measure(predictions([[np.nan, np.nan], [0.5, 0.5]], [0, 1])) is None


def test_values_are_named_by_kind_and_what_is_not_finite_is_none() -> None:
    class Broken(Metric):
        def measure(self, given: Predictions) -> float:
            return float("nan")

    values = measure([F1(), ClassAccuracy(), Broken(kind="mine:Broken")], UNEQUAL)
    names = ["f1", "class_accuracy.a", "class_accuracy.b", "class_accuracy.c", "class_accuracy.d"]
    assert [*values] == [*names, "mine:Broken"]
    assert values["class_accuracy.d"] is None
    assert values["mine:Broken"] is None


@pytest.mark.parametrize("returned", ["0.5", True, {}, {"a": [0.5]}, np.zeros(2)])
def test_what_is_no_number_is_refused_by_name(returned: Any) -> None:
    class Wrong(Metric):
        def measure(self, given: Predictions) -> Any:
            return returned

    with pytest.raises(ConfigError, match=r'^metrics\.0\.kind = "mine:Wrong".*expected a number'):
        measure([Wrong(kind="mine:Wrong")], UNEQUAL)


def test_an_experiment_without_metrics_says_nothing_of_them() -> None:
    plain = Experiment.model_validate({})
    assert b"metrics" not in plain.canonical_json()
    assert Experiment.model_validate({"metrics": []}).digest == plain.digest


def test_a_text_is_a_table_with_its_kind_and_the_digest_covers_it() -> None:
    short = Experiment.model_validate({"metrics": ["f1", "auc"]})
    full = Experiment.model_validate({"metrics": [{"kind": "f1", "average": "macro"}, "auc"]})
    assert short.digest == full.digest != Experiment.model_validate({}).digest
    assert b'"metrics":[{"average":"macro","kind":"f1"},{"kind":"auc"}]' in short.canonical_json()
    assert Experiment.model_validate_json(short.canonical_json()) == short


def test_each_metric_is_a_kind() -> None:
    assert METRICS.names() == ("auc", "balanced_accuracy", "class_accuracy", "f1")


def test_values_are_named_as_the_experiment_says() -> None:
    given = Experiment.model_validate(
        {
            "metrics": [
                "f1",
                {"kind": "f1", "name": "by_examples", "average": "weighted"},
                {"kind": "class_accuracy", "name": "recall"},
            ]
        }
    )
    values = measure(given.metrics, UNEQUAL)
    assert [*values] == ["f1", "by_examples", "recall.a", "recall.b", "recall.c", "recall.d"]
    assert values["f1"] == F1().measure(UNEQUAL)
    assert values["by_examples"] == F1(average="weighted").measure(UNEQUAL)


def test_a_name_is_part_of_the_digest_only_where_it_is_given() -> None:
    plain = Experiment.model_validate({"metrics": ["f1"]})
    named = Experiment.model_validate({"metrics": [{"kind": "f1", "name": "mine"}]})
    assert b'"metrics":[{"average":"macro","kind":"f1"}]' in plain.canonical_json()
    assert b'"metrics":[{"average":"macro","kind":"f1","name":"mine"}]' in named.canonical_json()
    assert Experiment.model_validate_json(named.canonical_json()) == named
    assert named.digest != plain.digest


def test_a_class_of_ones_own_may_bring_a_name() -> None:
    class Mine(Metric):
        name: str = "mine"

        def measure(self, given: Predictions) -> float:
            return 0.5

    assert measure([Mine(kind="my_metrics:Mine")], UNEQUAL) == {"mine": 0.5}


def test_no_metric_is_recorded_as_a_value_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "apart").mkdir()
    (tmp_path / "apart" / "metrics.py").write_text(
        "from fedproof import Metric\n\n\nclass Half(Metric):\n"
        "    def measure(self, given):\n        return 0.5\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    tables = [{"kind": "class_accuracy", "name": "apart"}, "apart.metrics:Half"]
    expected = r'metrics\[1\] is recorded as "apart.metrics:Half", as a value of metrics\[0\]'
    with pytest.raises(ValidationError, match=expected):
        Experiment.model_validate({"metrics": tables})
