"""CSV files: values by hand, and every mistake with its file, line and column."""

import sys
from pathlib import Path

import numpy as np
import pytest

from clients.data.examples import Scaling
from clients.data.parquet import read_parquet
from clients.data.table import TableFormat, read_table
from coordinator.protocol.errors import ConfigError

TABLE = "age,sick,chol\n50,0,200\n60,1,240\n"


def write(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "patients.csv"
    path.write_bytes(text.encode(encoding))
    return path


def read(tmp_path, text, **options):
    return read_table(write(tmp_path, text), TableFormat(**{"label": "sick", **options}))


def test_all_columns_but_the_label_are_features(tmp_path):
    data = read(tmp_path, TABLE)
    assert data.x.tolist() == [[50.0, 200.0], [60.0, 240.0]]
    assert data.y.tolist() == [0, 1]
    assert (data.x.dtype, data.y.dtype, len(data)) == (np.float32, np.int64, 2)


def test_features_are_taken_in_the_agreed_order_and_scaled(tmp_path):
    scaling = Scaling((220.0, 55.0), (20.0, 10.0))
    data = read(tmp_path, TABLE, features=("chol", "age"), scaling=scaling)
    assert data.x.tolist() == [[-1.0, -0.5], [1.0, 0.5]]


def test_a_file_without_header_quotes_blank_lines_and_a_byte_order_mark(tmp_path):
    data = read(tmp_path, '"1"; 2\n\n3;0\n', columns=("x", "sick"), delimiter=";")
    assert (data.x.tolist(), data.y.tolist()) == ([[1.0], [3.0]], [2, 0])
    assert read(tmp_path, "\ufeffsick,x\n1,2\n").y.tolist() == [1]


def test_labels_by_name_and_by_threshold(tmp_path):
    named = read(tmp_path, "sick,x\nyes,1\nno,2\n", classes=("no", "yes"))
    assert named.y.tolist() == [1, 0]
    above = read(tmp_path, "sick,x\n0,1\n3,2\n1,2\n", positive_above=0.0)
    assert above.y.tolist() == [0, 1, 1]


def test_missing_values_become_what_the_settings_say(tmp_path):
    scaling = Scaling((10.0,), (2.0,))
    text = "sick,x\n0,?\n1,12\n1,\n"
    assert read(tmp_path, text, fill=4.0, scaling=scaling).x.tolist() == [[-3.0], [1.0], [-3.0]]
    assert read(tmp_path, text, fill="mean", scaling=scaling).x.tolist() == [[0.0], [1.0], [0.0]]
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert str(caught.value) == (
        f'{tmp_path}/patients.csv:2: x is missing ("?"); say what it becomes in data.fill'
    )
    with pytest.raises(ConfigError, match=r'patients\.csv:2: x is "\?", expected a number'):
        read(tmp_path, text, missing=("",))


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, ": the file is empty, expected a line with the columns' names"),
        ("sick,x\n", {}, ": no examples in the file"),
        ("sick\n1\n", {}, ": no column besides the label 'sick'"),
        ("ill,x\n1,2\n", {}, ": no column 'sick', found ill, x"),
        (TABLE, {"features": ("age", "bmi")}, ": no column 'bmi', found age, sick, chol"),
        (TABLE, {"features": ("sick",)}, ": the label 'sick' is among the features"),
        ("sick,x,x\n1,2,3\n", {}, ":1: column 'x' is named more than once"),
        ("sick,x\n1,2\n1\n", {}, ":3: 1 values, expected 2"),
        ("sick,x\n1,two\n", {}, ':2: x is "two", expected a number'),
        ("sick,x\n1,nan\n", {}, ':2: x is "nan", expected a number'),
        ("sick,x\n1,1_0\n", {}, ':2: x is "1_0", expected a number'),
        ("sick,x\n\n1,1e999\n", {}, ':3: x is "1e999", expected a number'),
        ("sick,x\n1.5,2\n", {}, ':2: sick is "1.5", expected a class, 0 or more'),
        ("sick,x\n-1,2\n", {}, ':2: sick is "-1", expected a class, 0 or more'),
        (
            "sick,x\n?,2\n",
            {},
            ':2: sick is "?", expected a number (or all classes\' texts in data.classes)',
        ),
        (
            "sick,x\nmaybe,2\n",
            {"classes": ("no", "yes")},
            ':2: sick is "maybe", expected one of no, yes',
        ),
        (
            TABLE,
            {"scaling": Scaling((1.0, 2.0, 3.0))},
            ": mean has 3 numbers, expected 1 or 2, one for each feature",
        ),
        (
            TABLE,
            {"scaling": Scaling((1.0,), (0.0,))},
            ": scale is [0.0], expected numbers above 0",
        ),
        ('sick,x\n1,"2\n', {}, ": not a table of values: unexpected end of data"),
    ],
)
def test_every_mistake_names_its_place(tmp_path, text, options, message):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, **options)
    assert str(caught.value) == f"{tmp_path}/patients.csv{message}"


def test_values_beyond_float32_are_no_numbers_of_the_model(tmp_path):
    with pytest.raises(ConfigError, match=r"example 1 is inf at position \[0\]"):
        read(tmp_path, "sick,x\n1,2\n1,1e300\n")


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.csv: cannot be read: No such file"):
        read_table(tmp_path / "none.csv", TableFormat("y"))
    with pytest.raises(ConfigError, match="byte 7 is not UTF-8"):
        read_table(write(tmp_path, "sick,x\né,1\n", "latin-1"), TableFormat("sick"))
    with pytest.raises(ConfigError, match="Is a directory"):
        read_table(tmp_path, TableFormat("y"))


def test_without_the_extra_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ConfigError) as caught:
        read_parquet(tmp_path / "p.parquet", TableFormat("y"))
    assert str(caught.value) == (
        f"{tmp_path}/p.parquet: a Parquet file needs the package pyarrow: "
        'pip install "fedproof[parquet]"'
    )
