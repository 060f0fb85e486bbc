import importlib.util
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from coordinator.protocol.errors import ConfigError
from simulations.data import load_dataset
from simulations.data.hub import HubData


class Split(dict):
    """As much of a ``datasets.Dataset`` as the loader uses."""

    @property
    def column_names(self):
        return list(self)

    def with_format(self, kind):
        assert kind == "numpy"
        return self

    def __getitem__(self, key):
        return self if isinstance(key, slice) else super().__getitem__(key)


@pytest.fixture
def hub(monkeypatch):
    """Serve splits from memory in place of flwr-datasets; remember how it was asked."""
    splits, asked = {}, []

    class FederatedDataset:
        def __init__(self, **options):
            asked.append(options)

        def load_split(self, name):
            if name not in splits:
                raise ValueError(f"no split {name}\nof many lines")
            return splits[name]

    module = SimpleNamespace(FederatedDataset=FederatedDataset)
    monkeypatch.setitem(sys.modules, "flwr_datasets", module)
    return SimpleNamespace(splits=splits, asked=asked)


def images(count, labels):
    pixels = np.arange(count * 2 * 3 * 3, dtype=np.uint8).reshape(count, 2, 3, 3)
    return Split(image=pixels, label=np.array(labels), who=np.array(["b", "a"] * (count // 2)))


def test_values_are_scaled_before_they_are_rounded(hub):
    hub.splits["train"] = Split(t=np.array([3e39, 6e39] * 2), label=np.array([0, 1] * 2))
    config = HubData(kind="hub", dataset="x", features=["t"], scale=1e38, test_fraction=0.5)
    assert sorted({*load_dataset(config, None, 1).train_x[:, 0].tolist()}) == [30.0, 60.0]


def test_images_come_channels_first_and_scaled(hub):
    hub.splits["train"], hub.splits["test"] = images(4, [5, 3, 5, 3]), images(2, [3, 5])
    config = HubData(kind="hub", dataset="x/y", test_split="test", site="who", revision="abc")
    data = load_dataset(config, None, 1)
    assert data.train_x.shape == (4, 3, 2, 3)
    assert data.train_x[0, 1, 0, 0] == np.float32(1 / 255)
    assert data.input_shape == (3, 2, 3)
    assert (data.train_y.tolist(), data.test_y.tolist()) == ([1, 0, 1, 0], [0, 1])
    assert (data.num_classes, data.class_names) == (2, ("3", "5"))
    assert (data.sites.tolist(), data.site_names) == ([1, 0, 1, 0], ("a", "b"))
    assert hub.asked[0] == {
        "dataset": "x/y",
        "subset": None,
        "partitioners": {"train": 1},
        "shuffle": False,
        "revision": "abc",
    }


def test_grey_images_get_one_channel(hub):
    hub.splits["train"] = Split(image=np.zeros((4, 2, 3), np.uint8), label=np.array([0, 1, 0, 1]))
    data = load_dataset(HubData(kind="hub", dataset="x", test_fraction=0.5), None, 1)
    assert data.train_x.shape == (2, 1, 2, 3)
    assert data.test_y.tolist() in ([0, 1], [1, 0])
    assert data.sites is None


def test_number_columns_become_a_vector_and_text_labels_classes(hub):
    hub.splits["train"] = Split(
        a=np.array([1.0, 2, 3, 4]), b=np.array([5, 6, 7, 8]), kind=np.array(["x", "y", "y", "x"])
    )
    config = HubData(
        kind="hub", dataset="x", features=["b", "a"], label="kind", scale=2.0, test_fraction=0.5
    )
    data = load_dataset(config, None, 1)
    assert data.class_names == ("x", "y")
    assert data.train_x.shape == (2, 2)
    rows = {tuple(row) for row in [*data.train_x.tolist(), *data.test_x.tolist()]}
    assert rows == {(2.5, 0.5), (3.0, 1.0), (3.5, 1.5), (4.0, 2.0)}


LABELS = np.array([0, 1])


@pytest.mark.parametrize(
    ("split", "options", "message"),
    [
        (
            Split(image=np.zeros((2, 2, 2)), y=LABELS),
            {},
            "hub data set x, split train: no column label; it has image, y",
        ),
        (
            Split(image=np.array(["a", "b"]), label=LABELS),
            {},
            "column image is <U1, expected numbers of one shape",
        ),
        (
            Split(image=np.array([[1], [2, 3]], dtype=object), label=LABELS),
            {},
            "column image is object, expected numbers of one shape",
        ),
        (
            Split(image=np.zeros((2, 2)), b=np.zeros(2), label=LABELS),
            {"features": ["image", "b"]},
            "several feature columns must each hold one number a row",
        ),
        (
            Split(image=np.array([np.nan, 1]), label=LABELS),
            {},
            "a feature is NaN or infinite, expected finite numbers",
        ),
        (
            Split(image=np.zeros(2), label=np.array([1, 1])),
            {},
            "column label has 1 different values, expected 2 to 1000 classes",
        ),
    ],
)
def test_columns_that_do_not_fit_are_named(hub, split, options, message):
    hub.splits["train"] = split
    with pytest.raises(ConfigError) as caught:
        load_dataset(HubData(kind="hub", dataset="x", **options), None, 1)
    assert message in str(caught.value)


def test_a_failing_hub_is_one_line(hub):
    with pytest.raises(ConfigError) as caught:
        load_dataset(HubData(kind="hub", dataset="x/y", train_split="all"), None, 1)
    assert str(caught.value) == (
        "hub data set x/y, split all: cannot be loaded (offline, or not there?): no split all"
    )


def test_without_the_extra_the_package_to_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "flwr_datasets", None)
    with pytest.raises(ConfigError) as caught:
        load_dataset(HubData(kind="hub", dataset="x/y"), None, 1)
    assert str(caught.value) == (
        'data.kind = "hub" needs the package flwr-datasets: pip install "fedproof[hub]"'
    )


@pytest.mark.slow
def test_the_real_package_offline_is_one_line(tmp_path):
    if importlib.util.find_spec("flwr_datasets") is None:
        pytest.skip("flwr-datasets (the hub extra) is not installed")
    code = (
        "from simulations.data import load_dataset; from simulations.data.hub import HubData\n"
        "from coordinator.protocol.errors import ConfigError\n"
        "try: load_dataset(HubData(kind='hub', dataset='nobody/nothing'), None, 1)\n"
        "except ConfigError as error: print(error)\n"
    )
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    out = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **offline},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    (line,) = out.stdout.splitlines()
    assert line.startswith("hub data set nobody/nothing, split train: cannot be loaded (offline")
