"""Parquet files: the same values as from a CSV file, and each mistake with row and column."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clients.data.examples import Scaling
from clients.data.load import load_data
from clients.data.parquet import feature_columns, read_parquet
from clients.data.table import TableFormat
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.scores.architecture import Architecture, Linear
from coordinator.settings.learning import Features
from coordinator.settings.participant import ParquetData

pyarrow: Any = pytest.importorskip("pyarrow", reason="the parquet extra is not installed")
parquet: Any = pytest.importorskip("pyarrow.parquet")


def write(folder: Path, **columns: Any) -> Path:
    path = folder / "p.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    return path


def test_columns_are_read_by_name_and_scaled_before_they_are_rounded(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        t=np.array([1_700_000_000, 1_700_000_040]),
        y=pyarrow.array([0, 1], pyarrow.int8()),
        age=np.array([50.0, 60.0], np.float32),
        smokes=[True, False],
    )
    layout = TableFormat("y", ("age", "t", "smokes"), scaling=Scaling((50, 1.7e9, 0), (10, 10, 1)))
    data = read_parquet(path, layout)
    assert data.x.tolist() == [[0.0, 0.0, 1.0], [1.0, 4.0, 0.0]]
    assert (data.x.dtype, data.y.dtype, data.y.tolist()) == (np.float32, np.int64, [0, 1])
    assert feature_columns(path, TableFormat("y")) == ["t", "age", "smokes"]


def test_labels_by_name_by_threshold_and_as_whole_floats(tmp_path: Path) -> None:
    path = write(tmp_path, x=[1.0, 2.0, 3.0], y=["no", "yes", "no"])
    assert read_parquet(path, TableFormat("y", classes=("no", "yes"))).y.tolist() == [0, 1, 0]
    words = pyarrow.array(["no", "yes", "no"]).dictionary_encode()
    path = write(tmp_path, x=[1.0, 2.0, 3.0], y=words)
    assert read_parquet(path, TableFormat("y", classes=("yes", "no"))).y.tolist() == [1, 0, 1]
    path = write(tmp_path, x=[1.0, 2.0, 3.0], y=[0.0, 2.0, 1.0])
    assert read_parquet(path, TableFormat("y")).y.tolist() == [0, 2, 1]
    assert read_parquet(path, TableFormat("y", positive_above=1.0)).y.tolist() == [0, 1, 0]
    path = write(tmp_path, x=[1.0, 2.0], y=[True, False])
    assert read_parquet(path, TableFormat("y")).y.tolist() == [1, 0]


@pytest.mark.parametrize("column", [[12.0, None], [12.0, float("nan")], [12, None], [True, None]])
def test_null_and_nan_become_what_the_settings_say(tmp_path: Path, column: list[Any]) -> None:
    path, scaling = write(tmp_path, x=column, y=[0, 1]), Scaling((10.0,), (2.0,))
    mean = read_parquet(path, TableFormat("y", fill="mean", scaling=scaling))
    assert mean.x[1].tolist() == [0.0]
    assert read_parquet(path, TableFormat("y", fill=4.0, scaling=scaling)).x[1].tolist() == [-3.0]
    with pytest.raises(ConfigError) as caught:
        read_parquet(path, TableFormat("y"))
    assert str(caught.value) == (
        f'{path}: row 2: x is missing ("null"); say what it becomes in data.fill'
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"x": ["a", "b"], "y": [0, 1]}, "x is string, expected a column of numbers"),
        ({"x": [[1], [2]], "y": [0, 1]}, "x is list<element: int64>, expected a column of numbers"),
        ({"x": [1, 2], "y": [0, None]}, 'row 2: y is "", expected a number'),
        ({"x": [1, 2], "y": [0.0, float("nan")]}, 'row 2: y is "nan", expected a number'),
        ({"x": [1, 2], "y": [0, -1]}, 'row 2: y is "-1", expected a class, 0 or more'),
        ({"x": [1, 2], "y": ["no", "eel"]}, 'row 1: y is "no", expected a number (or all classes'),
        ({"x": [1, 2], "z": [0, 1]}, "no column 'y', found x, z"),
        ({"y": [0, 1]}, "no column besides the label 'y'"),
        ({"x": pyarrow.array([], pyarrow.float64()), "y": pyarrow.array([])}, "no examples in"),
        ({"x": [1.0, 1e39], "y": [0, 1]}, "example 1 is inf at position [0], expected a finite"),
    ],
)
def test_what_is_no_table_of_numbers_is_named(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    path = write(tmp_path, **columns)
    with pytest.raises(ConfigError) as caught:
        read_parquet(path, TableFormat("y"))
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_other_files_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, x=[1.0, 2.0], y=[0, 1])
    whole = path.read_bytes()
    for data in (b"", b"x,y\n1,0\n", whole[: len(whole) // 2]):
        path.write_bytes(data)
        with pytest.raises(ConfigError, match=r"p\.parquet: cannot be read: ") as caught:
            read_parquet(path, TableFormat("y"))
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"none\.parquet: cannot be read: .*No such file"):
        read_parquet(tmp_path / "none.parquet", TableFormat("y"))


def test_a_participants_section_is_read(tmp_path: Path) -> None:
    write(tmp_path, b=[1.0, 2.0], a=[3.0, 4.0], out=[0, 1])
    section = ParquetData(kind="parquet", path="p.parquet")
    agreed = Features(names=["a", "b"], mean=[3.0, 1.0], scale=[1.0, 1.0], label="out")
    data = load_data(section, agreed, Architecture((Linear(2, 2),), (2,)), tmp_path)
    assert data.x.tolist() == [[0.0, 0.0], [1.0, 1.0]]
