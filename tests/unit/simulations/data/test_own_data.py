"""Data of one's own in experiments: the participants' loaders, sites, classes, and each mistake."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from coordinator.protocol.errors import ConfigError
from simulations.data import Dataset, load_dataset
from simulations.experiment.load import load_experiment
from simulations.experiment.schema import Experiment

Load = Callable[..., Dataset]


@pytest.fixture
def experiment(tmp_path: Path) -> Callable[..., Experiment]:
    def read(partition: dict[str, Any] | None = None, **data: Any) -> Experiment:
        clients = partition or {"clients": 2}
        loaded = load_experiment({"data": data, "partition": clients})
        loaded.data.place_beside(tmp_path)
        return loaded

    return read


@pytest.fixture
def load(experiment: Callable[..., Experiment]) -> Load:
    def loaded(partition: dict[str, Any] | None = None, **data: Any) -> Dataset:
        return load_dataset(experiment(partition, **data).data, None, 1)

    return loaded


def table(path: Path, rows: int, *, start: int = 0, columns: str = "age,chol,sick") -> Path:
    """Write rows of which the first feature is the row's number, its class odd or even."""
    values = {"age": lambda i: start + i, "chol": lambda i: 200 + i, "sick": lambda i: i % 2}
    names = columns.split(",")
    lines = [columns] + [",".join(str(values[n](i)) for n in names) for i in range(rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_table_is_split_by_class(tmp_path: Path, load: Load) -> None:
    table(tmp_path / "a.csv", 20)
    data = load(kind="csv", path="a.csv", label="sick", test_fraction=0.3)
    assert (len(data.train_y), len(data.test_y)) == (14, 6)
    assert np.bincount(data.test_y).tolist() == [3, 3]
    assert (data.input_shape, data.num_classes, data.class_names) == ((2,), 2, ("0", "1"))
    assert sorted([*data.train_x[:, 0], *data.test_x[:, 0]]) == list(range(20))
    assert (data.sites, data.test_sites, data.site_names) == (None, None, ())


def test_a_test_part_of_its_own_is_not_mixed_with_the_rest(tmp_path: Path, load: Load) -> None:
    table(tmp_path / "a.csv", 6)
    table(tmp_path / "t.csv", 2, start=100)
    data = load(
        kind="csv", path="a.csv", test_path="t.csv", label="sick", mean=[100.0, 0.0], scale=[2.0]
    )
    assert data.train_x[:, 0].tolist() == [-50.0, -49.5, -49.0, -48.5, -48.0, -47.5]
    assert data.test_x[:, 0].tolist() == [0.0, 0.5]
    assert data.train_x[0, 1] == 100.0


def test_each_file_of_sites_is_a_client_and_columns_go_by_name(tmp_path: Path, load: Load) -> None:
    table(tmp_path / "north.csv", 8)
    table(tmp_path / "south.csv", 4, start=100, columns="sick,chol,age")
    sites = ["north.csv", "south.csv"]
    by_site = {"kind": "by_site", "clients": 2}
    data = load(by_site, kind="csv", sites=sites, label="sick", test_fraction=0.25)
    assert data.site_names == ("north", "south")
    assert data.sites is not None
    assert data.test_sites is not None
    assert np.bincount(data.sites).tolist() == [6, 2]
    assert np.bincount(data.test_sites).tolist() == [2, 2]
    # the second file has age last, yet it is the first feature
    assert min(data.train_x[data.sites == 1][:, 0]) >= 100
    assert max(data.train_x[:, 1]) < 210


def test_paths_start_at_the_experiments_own_folder_or_at_data(tmp_path: Path) -> None:
    inner, other = tmp_path / "in", tmp_path / "other"
    for folder, rows in ((inner, 10), (other, 20)):
        folder.mkdir()
        table(folder / "a.csv", rows)
    (inner / "mine.toml").write_text(
        'data = {kind = "csv", path = "a.csv", label = "sick"}\npartition = {clients = 2}\n'
    )
    loaded = load_experiment(inner / "mine.toml")
    assert len(load_dataset(loaded.data, None, 1).train_y) == 8
    assert len(load_dataset(loaded.data, other, 1).train_y) == 16
    # where it lies is no part of what is agreed on
    raw = {
        "data": {"kind": "csv", "path": "a.csv", "label": "sick"},
        "partition": {"clients": 2},
    }
    assert load_experiment(raw).digest == loaded.digest


def test_classes_by_name_by_threshold_and_by_number(tmp_path: Path, load: Load) -> None:
    (tmp_path / "a.csv").write_text("x,y\n" + "1,eel\n2,cat\n" * 5)
    data = load(kind="csv", path="a.csv", label="y", classes=["cat", "dog", "eel"])
    assert (data.num_classes, data.class_names) == (3, ("cat", "dog", "eel"))
    assert sorted({*data.train_y.tolist()}) == [0, 2]
    (tmp_path / "b.csv").write_text("x,y\n" + "1,4\n2,0\n" * 5)
    assert load(kind="csv", path="b.csv", label="y").num_classes == 5
    assert load(kind="csv", path="b.csv", label="y", num_classes=7).num_classes == 7
    above = load(kind="csv", path="b.csv", label="y", positive_above=1.0)
    assert (above.num_classes, sorted({*above.train_y.tolist()})) == (2, [0, 1])


def test_a_table_may_begin_with_a_mark_and_is_scaled_before_it_is_rounded(
    tmp_path: Path, load: Load
) -> None:
    rows = "1700000000,0\n1700000040,1\n" * 5
    (tmp_path / "a.csv").write_bytes(b'\xef\xbb\xbf"t","y"\n' + rows.encode())
    data = load(kind="csv", path="a.csv", label="y", mean=[1.7e9], scale=[10.0])
    assert sorted({*data.train_x[:, 0].tolist()}) == [0.0, 4.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, 'data.kind = "csv" needs data.path or data.sites, and neither is given'),
        ({"path": "a", "sites": ["b"]}, "needs data.path or data.sites, and both are given"),
        ({"sites": ["b", "b"]}, "data.sites names b 2 times; expected each site once"),
        ({"path": "a", "classes": ["n", "y"], "num_classes": 3}, "but data.classes makes 2"),
        ({"path": "a", "positive_above": 0.5, "num_classes": 3}, "but data.positive_above makes 2"),
        (
            {"path": "a", "positive_above": 0.5, "classes": ["n", "y"]},
            "data.classes and data.positive_above are both given",
        ),
        ({"path": "a", "lable": "y"}, 'unknown key "data.lable"; did you mean "label"?'),
    ],
)
def test_contradictions_are_told_at_load(
    experiment: Callable[..., Experiment], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        experiment(kind="csv", **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("partition", "options", "message"),
    [
        ({"clients": 2}, {"path": "a.csv"}, 'partition.kind = "by_site" needs data.sites'),
        ({"clients": 3}, {"sites": ["a", "b"]}, "partition.clients = 3, but data.sites names 2"),
    ],
)
def test_clients_by_site_are_the_sites(
    experiment: Callable[..., Experiment],
    partition: dict[str, Any],
    options: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(ConfigError) as caught:
        experiment({"kind": "by_site", **partition}, kind="csv", **options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("x,y\n1,2\n", {"num_classes": 2}, "a.csv: label of example 0 is 2, expected 0 to 1"),
        ("x,y\n1,eel\n", {}, 'a.csv:2: y is "eel", expected a number (or all classes\' texts'),
        ("x,y\n", {}, "a.csv: no examples in the file"),
        ("x,y\n1,0\n", {}, "data.test_fraction = 0.2 leaves no test example of 1"),
        (
            "x,y\n1,0\n",
            {"test_fraction": 0.9},
            "data.test_fraction = 0.9 leaves no training example of 1",
        ),
        (
            "x,y\n1,0\n",
            {"scale": [1.0, 2.0]},
            "a.csv: scale has 2 numbers, expected 1 or 1, one for",
        ),
        ("x,z\n1,0\n", {}, "a.csv: no column 'y', found x, z"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(
    tmp_path: Path, load: Load, text: str, options: dict[str, Any], message: str
) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(kind="csv", path="a.csv", label="y", **options)
    assert str(caught.value).startswith(str(tmp_path / "a.csv"))
    assert message in str(caught.value)


def test_a_file_that_is_not_there_and_sites_that_differ_are_named(
    tmp_path: Path, load: Load
) -> None:
    with pytest.raises(ConfigError, match=r"none\.csv: cannot be read: No such file"):
        load(kind="csv", path="none.csv")
    table(tmp_path / "a.csv", 4)
    (tmp_path / "b.csv").write_text("age,sick\n1,0\n")
    with pytest.raises(ConfigError, match=r"b\.csv: no column 'chol', found age, sick"):
        load(kind="csv", sites=["a.csv", "b.csv"], label="sick")


# --- NumPy -----------------------------------------------------------------------------------


def test_arrays_and_their_test_part(tmp_path: Path, load: Load) -> None:
    x, y = np.arange(40).reshape(20, 2), np.arange(20) % 2
    np.savez(tmp_path / "all.npz", x=x, y=y, x_test=x[:3] + 100, y_test=y[:3])
    assert len(load(kind="numpy", path="all.npz").test_y) == 4
    data = load(kind="numpy", path="all.npz", test_features="x_test", test_labels="y_test")
    assert (data.train_x.tolist(), data.test_x[:, 0].tolist()) == (x.tolist(), [100, 102, 104])
    for name, values in (("x", x), ("y", y), ("tx", x[:3] + 100), ("ty", y[:3])):
        np.save(tmp_path / f"{name}.npy", values)
    pair = load(
        kind="numpy",
        path="x.npy",
        labels_path="y.npy",
        test_path="tx.npy",
        test_labels_path="ty.npy",
    )
    np.testing.assert_array_equal(pair.test_x, data.test_x)
    np.testing.assert_array_equal(pair.train_x, data.train_x)
    (tmp_path / "more").mkdir()
    np.savez(tmp_path / "more" / "all.npz", x=x[:4] + 7, y=y[:4])
    sites = load({"kind": "by_site", "clients": 2}, kind="numpy", sites=["all.npz", "more/all.npz"])
    assert sites.site_names == ("all.npz", "more/all.npz")  # the same name twice tells nobody


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sites": ["a"], "labels_path": "y"}, "data.labels_path goes with data.path"),
        ({"path": "x", "test_labels_path": "y"}, "goes with data.test_path, which is missing"),
        ({"path": "x", "test_path": "t", "labels_path": "y"}, "expected both (.npy files) or none"),
        ({"sites": ["a"], "test_features": "x"}, "need data.test_path where there are sites"),
    ],
)
def test_half_a_pair_of_arrays_is_refused(
    experiment: Callable[..., Experiment], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        experiment(kind="numpy", **options)
    assert message in str(caught.value)


def test_parts_of_other_shapes_are_named(tmp_path: Path, load: Load) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 2)), y=[0, 1, 0, 1])
    np.savez(tmp_path / "b.npz", x=np.zeros((4, 3)), y=[0, 1, 0, 1])
    with pytest.raises(ConfigError) as caught:
        load(kind="numpy", sites=["a.npz", "b.npz"])
    assert str(caught.value) == (
        f"{tmp_path}/b.npz: examples have shape (3,), expected (2,) as in {tmp_path}/a.npz"
    )


# --- images ----------------------------------------------------------------------------------


def pictures(folder: Path, *classes: str, size: tuple[int, int] = (3, 2), mode: str = "L") -> Path:
    """Write five images of each class, each of one shade."""
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for copy in range(5):
            shade = 50 * number + copy
            Image.new(mode, size, (shade,) * 3 if mode == "RGB" else shade).save(
                folder / name / f"{copy}.png"
            )
    return folder


def test_a_site_that_lacks_a_class_numbers_the_others_as_the_rest_do(
    tmp_path: Path, load: Load
) -> None:
    pictures(tmp_path / "north", "cat", "dog", "eel")
    pictures(tmp_path / "south", "dog", "eel")
    (tmp_path / "south" / "__MACOSX").mkdir()
    (tmp_path / "south" / "dog" / ".DS_Store").write_bytes(b"x")
    by_site = {"kind": "by_site", "clients": 2}
    data = load(by_site, kind="images", sites=["north", "south"], scale=[0.5])
    assert (data.class_names, data.num_classes) == (("cat", "dog", "eel"), 3)
    assert data.input_shape == (1, 2, 3)
    assert data.sites is not None
    assert sorted({*data.train_y[data.sites == 1].tolist()}) == [1, 2]
    assert data.train_x.max() == np.float32(104 / 255 / 0.5)
    listed = load(kind="images", path="south", classes=["eel", "cat", "dog"])
    assert sorted({*listed.train_y.tolist()}) == [0, 2]


def test_a_class_only_the_test_part_has_is_a_class(tmp_path: Path, load: Load) -> None:
    pictures(tmp_path / "train", "cat", "eel")
    pictures(tmp_path / "test", "cat", "dog")
    data = load(kind="images", path="train", test_path="test")
    assert data.class_names == ("cat", "dog", "eel")
    assert sorted({*data.train_y.tolist()}) == [0, 2]
    assert sorted({*data.test_y.tolist()}) == [0, 1]


def test_colours_are_kept_unless_grey_is_wanted(tmp_path: Path, load: Load) -> None:
    pictures(tmp_path / "a", "cat", "dog", mode="RGB")
    assert load(kind="images", path="a").input_shape == (3, 2, 3)
    assert load(kind="images", path="a", grey=True).input_shape == (1, 2, 3)


def test_folders_that_will_not_do_are_named(tmp_path: Path, load: Load) -> None:
    pictures(tmp_path / "a", "cat", "dog")
    pictures(tmp_path / "b", "cat", "dog", size=(4, 2))
    with pytest.raises(ConfigError, match=r"b/cat/0\.png: 4x2 pixels, expected 3x2"):
        load(kind="images", sites=["a", "b"])
    with pytest.raises(ConfigError, match=r"a/dog: unknown class, expected cat"):
        load(kind="images", path="a", classes=["cat", "eel"])
    pictures(tmp_path / "one", "cat")
    with pytest.raises(ConfigError, match=r"one: only class cat, expected 2 classes or more"):
        load(kind="images", path="one")
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    with pytest.raises(ConfigError, match="empty: no images, expected sub-folders with"):
        load(kind="images", path="empty")
    with pytest.raises(ConfigError, match="none: cannot be read: No such file"):
        load(kind="images", path="none")
    with pytest.raises(ConfigError, match=r"data\.num_classes = 3, but data\.classes lists 2"):
        load(kind="images", path="a", classes=["cat", "dog"], num_classes=3)


# --- functions -------------------------------------------------------------------------------


def rows(count: int = 10, start: int = 0, classes: int = 2) -> Any:
    numbers = np.arange(start, start + count)
    return numbers[:, None].astype(float), numbers % classes


def nothing() -> Any:
    yield from ()


def test_a_function_is_called_for_each_site_and_for_the_test_part(load: Load) -> None:
    function, by_site = f"{__name__}:rows", {"kind": "by_site", "clients": 2}
    data = load(kind="python", function=function, options={"count": 20})
    assert (len(data.train_y), len(data.test_y), data.site_names) == (16, 4, ())
    sites = load(
        by_site,
        kind="python",
        function=function,
        options={"count": 5},
        sites=[{"start": 100}, {"start": 200, "count": 3}],
        test_options={"start": 300},
    )
    assert sites.sites is not None
    assert sites.train_x[:, 0].tolist() == [100, 101, 102, 103, 104, 200, 201, 202]
    assert sites.sites.tolist() == [0] * 5 + [1] * 3
    assert sites.test_x[:, 0].tolist() == [300, 301, 302, 303, 304]
    assert sites.site_names == ("site 0", "site 1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"function": f"{__name__}:nothing"}, "yields nothing, expected batches of features"),
        ({"function": f"{__name__}:rows", "options": {"count": 0}}, "0 examples and 0 labels"),
        (
            {"function": f"{__name__}:rows", "options": {"classes": 3}, "num_classes": 2},
            "label of example 2 is 2, expected 0 to 1 (data.num_classes)",
        ),
        ({"function": f"{__name__}:rows", "options": {"rows": 3}}, "unexpected keyword argument"),
        ({"function": "no.such:f"}, "cannot import"),
    ],
)
def test_a_function_that_will_not_do_is_named(
    load: Load, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(kind="python", **options)
    assert message in str(caught.value)
    assert options["function"] in str(caught.value)
    assert "\n" not in str(caught.value)


# --- Parquet ---------------------------------------------------------------------------------


def test_parquet_gives_what_csv_gives(tmp_path: Path, load: Load) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"age": list(range(10)), "chol": [200 + i for i in range(10)], "sick": [0, 1] * 5}
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    reordered = {name: columns[name] for name in ("sick", "chol", "age")}
    parquet.write_table(pyarrow.table(reordered), tmp_path / "b.parquet")
    table(tmp_path / "a.csv", 10)
    first = load(kind="csv", path="a.csv", label="sick", mean=[3.0], scale=[2.0])
    second = load(kind="parquet", path="a.parquet", label="sick", mean=[3.0], scale=[2.0])
    np.testing.assert_array_equal(first.train_x, second.train_x)
    np.testing.assert_array_equal(first.test_y, second.test_y)
    both = load(kind="parquet", sites=["a.parquet", "b.parquet"], label="sick")
    assert both.train_x[:, 0].max() == 9
