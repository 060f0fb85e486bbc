from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from coordinator.protocol.errors import ConfigError, OutsideCodeError
from simulations.data import Dataset, DataSource, hold_out, load_dataset
from simulations.data.breast_cancer import BreastCancerData
from simulations.data.dataset import apportion, split_by_class
from simulations.data.digits import DigitsData
from simulations.data.fashion_mnist import FashionMnistData
from simulations.data.heart_disease import HeartDiseaseData


def small(train_y, **fields):
    count = len(train_y)
    return Dataset(
        name="small",
        train_x=np.arange(count, dtype=np.float32)[:, None],
        train_y=np.array(train_y, np.int64),
        test_x=np.zeros((1, 1), np.float32),
        test_y=np.zeros(1, np.int64),
        num_classes=3,
        input_shape=(1,),
        class_names=("a", "b", "c"),
        **fields,
    )


def same(first, second):
    return all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("train_x", "train_y", "test_x", "test_y")
    )


def test_split_takes_the_fraction_of_each_class_rounded_half_up():
    labels = np.array([0] * 10 + [1] * 5 + [2] * 2)
    train, test = split_by_class(labels, 0.25, np.random.default_rng(0))
    # 2.5 -> 3 of ten, 1.25 -> 1 of five, 0.5 -> 1 of two
    assert np.bincount(labels[test]).tolist() == [3, 1, 1]
    assert sorted([*train, *test]) == list(range(17))
    assert test.tolist() == sorted(test)


@pytest.mark.parametrize(
    ("shares", "total", "expected"),
    [
        ([0.5, 0.3, 0.2], 10, [5, 3, 2]),
        ([0.5, 0.3, 0.2], 4, [2, 1, 1]),  # 2, 1.2, 0.8: the fourth goes to the remainder .8
        ([0.25, 0.25, 0.25, 0.25], 6, [2, 2, 1, 1]),  # a tie goes to the lower index
    ],
)
def test_apportion_by_largest_remainder(shares, total, expected):
    assert apportion(np.array(shares), total).tolist() == expected


def test_hold_out_takes_classes_in_proportion_and_nothing_twice():
    data = small([0] * 10 + [1] * 6 + [2] * 4, sites=np.arange(20), site_names=("x",))
    held = hold_out(data, 10, np.random.default_rng(1))
    assert np.bincount(held.y).tolist() == [5, 3, 2]
    together = np.concatenate([held.x, held.rest.train_x])[:, 0]
    assert sorted(together) == list(range(20))
    np.testing.assert_array_equal(held.rest.sites, held.rest.train_x[:, 0])


def test_hold_out_must_leave_something():
    data = small([0, 1, 2])
    with pytest.raises(ConfigError) as caught:
        hold_out(data, 3, np.random.default_rng(1))
    assert str(caught.value) == (
        "scoring.evaluation_examples = 3, but data set small has only 3 training examples"
    )
    assert len(hold_out(data, 2, np.random.default_rng(1)).rest.train_y) == 1


def test_digits():
    data = load_dataset(DigitsData(), None, 7)
    assert data.train_x.shape == (1438, 1, 8, 8)
    assert data.test_x.shape == (359, 1, 8, 8)
    assert (data.train_x.dtype, data.train_y.dtype) == (np.float32, np.int64)
    assert (data.input_shape, data.num_classes) == ((1, 8, 8), 10)
    assert (data.train_x.min(), data.train_x.max()) == (0.0, 1.0)
    assert np.bincount(data.test_y).tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]
    assert data.sites is None


def test_breast_cancer_is_standardised_by_its_training_part():
    data = load_dataset(BreastCancerData(), None, 7)
    assert data.train_x.shape == (456, 30)
    assert data.test_x.shape == (113, 30)
    np.testing.assert_allclose(data.train_x.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(data.train_x.std(axis=0), 1.0, atol=1e-5)
    assert np.abs(data.test_x.mean(axis=0)).max() > 0.01
    assert data.class_names == ("malignant", "benign")


def test_the_split_depends_on_the_seed_alone():
    first, second = load_dataset(DigitsData(), None, 7), load_dataset(DigitsData(), None, 7)
    assert same(first, second)
    assert not same(first, load_dataset(DigitsData(), None, 8))


def test_limits_keep_so_many_of_the_same_examples():
    full = load_dataset(DigitsData(), None, 7)
    cut = load_dataset(DigitsData(max_train=100, max_test=20), None, 7)
    assert (len(cut.train_y), len(cut.test_y)) == (100, 20)
    kept = {row.tobytes() for row in full.train_x}
    assert all(row.tobytes() in kept for row in cut.train_x)
    assert len(load_dataset(DigitsData(max_train=9999), None, 7).train_y) == 1438


@pytest.mark.parametrize(
    ("config", "layout"),
    [
        (HeartDiseaseData(), "heart-disease/ with processed.cleveland.data"),
        (FashionMnistData(), "fashion-mnist/ with train-images-idx3-ubyte.gz"),
    ],
)
def test_no_folder_says_which_files_and_which_options(monkeypatch, config, layout):
    monkeypatch.delenv("FEDPROOF_DATA", raising=False)
    with pytest.raises(ConfigError) as caught:
        load_dataset(config, None, 1)
    message = str(caught.value)
    assert message.startswith(f"no data folder given: expected {layout}")
    assert message.endswith("give it by --data FOLDER, data.folder or FEDPROOF_DATA")


def test_a_missing_folder_names_it_and_who_named_it(monkeypatch, tmp_path):
    nowhere = tmp_path / "nowhere"
    monkeypatch.setenv("FEDPROOF_DATA", str(nowhere))
    with pytest.raises(ConfigError, match=f"^FEDPROOF_DATA {nowhere}: no such folder; expected"):
        load_dataset(HeartDiseaseData(), None, 1)
    with pytest.raises(ConfigError, match=f"^data.folder {nowhere}: no such folder; expected"):
        load_dataset(HeartDiseaseData(folder=str(nowhere)), None, 1)
    with pytest.raises(ConfigError, match=f"^--data {nowhere}: no such folder; expected"):
        load_dataset(HeartDiseaseData(folder="elsewhere"), nowhere, 1)


def test_a_missing_file_is_named(tmp_path):
    folder = tmp_path / "heart-disease"
    folder.mkdir()
    (folder / "processed.va.data").write_text("63,1,4,140,260,0,1,112,1,3,2,?,?,2\n")
    with pytest.raises(ConfigError) as caught:
        load_dataset(HeartDiseaseData(sites=["va", "hungarian"]), tmp_path, 1)
    missing = folder / "processed.hungarian.data"
    assert str(caught.value).startswith(f"{missing}: no such file (--data); expected heart-disease")


ROWS = "63,1,4,140,260,0,1,112,1,3,2,?,?,2\n44,0,1,0,0,1,0,127,0,-0.5,?,1,7,0\n" * 4


def test_the_folder_may_be_the_data_sets_own(tmp_path):
    (tmp_path / "processed.va.data").write_text(ROWS)
    config = HeartDiseaseData(sites=["va"], test_fraction=0.5)
    data = load_dataset(config, tmp_path, 1)
    assert (len(data.train_y), len(data.test_y)) == (4, 4)
    assert data.site_names == ("va",)


def test_the_environment_is_the_last_resort(monkeypatch, tmp_path):
    (tmp_path / "processed.va.data").write_text(ROWS)
    monkeypatch.setenv("FEDPROOF_DATA", str(tmp_path))
    assert len(load_dataset(HeartDiseaseData(sites=["va"]), None, 1).train_y) == 6
    monkeypatch.setenv("FEDPROOF_DATA", "/nonexistent")
    assert len(load_dataset(HeartDiseaseData(sites=["va"]), tmp_path, 1).train_y) == 6
    named = HeartDiseaseData(sites=["va"], folder=str(tmp_path))
    assert len(load_dataset(named, None, 1).train_y) == 6


def test_real_heart_disease(real_data: Path):
    data = load_dataset(HeartDiseaseData(), real_data, 3)
    assert len(data.train_y) + len(data.test_y) == 920
    assert data.site_names == ("cleveland", "hungarian", "switzerland", "va")
    counts = np.bincount(np.concatenate([data.sites, data.test_sites]))
    assert counts.tolist() == [303, 294, 123, 200]
    assert int((data.train_y == 1).sum() + (data.test_y == 1).sum()) == 509
    swiss = np.concatenate([data.train_y[data.sites == 2], data.test_y[data.test_sites == 2]])
    assert round(float(swiss.mean()), 3) == 0.935
    assert np.isfinite(data.train_x).all()


def test_real_fashion_mnist(real_data: Path):
    data = load_dataset(FashionMnistData(max_train=500, max_test=200), real_data, 3)
    assert data.train_x.shape == (500, 1, 28, 28)
    assert data.test_x.shape == (200, 1, 28, 28)
    assert abs(float(data.train_x.mean())) < 0.05
    full = load_dataset(FashionMnistData(max_test=10), real_data, 3)
    assert np.bincount(full.train_y).tolist() == [6000] * 10


class Odd(DataSource):
    """Loads digits, changed as it is told."""

    kind: str = "mine:Odd"
    what: str

    def load(self, folder, rng):
        good = DigitsData().load(folder, rng)
        match self.what:
            case "none":
                return None
            case "dtype":
                return replace(good, train_x=good.train_x.astype(np.float64))
            case "shape":
                return replace(good, test_x=good.test_x[:, 0])
            case "labels":
                return replace(good, test_y=good.test_y.astype(np.int32))
            case "lists":
                return replace(good, train_y=good.train_y.tolist())
            case "empty":
                return replace(good, test_x=good.test_x[:0], test_y=good.test_y[:0])
        return replace(good, train_y=good.train_y + 1)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("none", "load returned NoneType, expected Dataset"),
        ("dtype", "train_x is float64 (1438, 1, 8, 8), expected float32 (1438, 1, 8, 8)"),
        ("shape", "test_x is float32 (359, 8, 8), expected float32 (359, 1, 8, 8)"),
        ("labels", "test_y is int32 (359,), expected int64 (n,) with n >= 1"),
        ("empty", "test_y is int64 (0,), expected int64 (n,) with n >= 1"),
        ("class", "train_y has labels from 1 to 10, expected 0 to 9"),
        ("lists", "train_x is a ndarray and train_y a list, expected numpy arrays"),
    ],
)
def test_a_data_set_that_does_not_fit_together_is_refused(what, message):
    with pytest.raises(ConfigError) as caught:
        load_dataset(Odd(what=what), None, 7)
    assert str(caught.value) == f'data.kind = "mine:Odd": {message}'


@pytest.mark.parametrize(("kind", "error"), [("mine:Raises", OutsideCodeError), ("own", KeyError)])
def test_an_error_of_ones_own_data_set_is_named_and_of_the_packages_a_defect(kind, error):
    class Raises(DataSource):
        def load(self, folder, rng):
            return {}["wine"]

    with pytest.raises(error) as caught:
        load_dataset(Raises(kind=kind), None, 7)
    if error is OutsideCodeError:
        expected = f"data.kind = \"{kind}\": load raised KeyError: 'wine' (test_data.py, line "
        assert str(caught.value).startswith(expected)
