import math

import numpy as np
import pytest

from coordinator.protocol.errors import ConfigError
from simulations.data.heart_disease import encode, read_hospital

GOOD = "63.0,1.0,4.0,150.0,270.0,0,1,115,1,3.0,2,?,7,2"


def read(tmp_path, text):
    file = tmp_path / "processed.va.data"
    file.write_text(text)
    return read_hospital(file)


def test_zero_cholesterol_and_blood_pressure_are_missing(tmp_path):
    table = read(tmp_path, "63,1,4,0,0,0,0,115,0,0,2,0,7,0\n\n" + GOOD + "\n")
    assert table.shape == (2, 14)
    assert math.isnan(table[0, 3])
    assert math.isnan(table[0, 4])
    assert table[0, [5, 6, 8, 9, 11, 13]].tolist() == [0] * 6
    assert math.isnan(table[1, 11])
    assert table[1, 13] == 2


def test_features_of_one_patient_by_hand(tmp_path):
    (features,) = encode(read(tmp_path, GOOD))
    numbers = [0.8, 1.0, 1.0, -1.0, 2.0, 0.0]  # age, trestbps, chol, thalach, oldpeak, ca (missing)
    sex, cp, fbs, restecg = [1], [0, 0, 0, 1], [0], [0, 1, 0]
    exang, slope, thal = [1], [0, 1, 0], [0, 0, 1]
    # of trestbps, chol, fbs, restecg, thalach, exang, oldpeak, slope, ca, thal
    missing = [0, 0, 0, 0, 0, 0, 0, 0, 1, 0]
    expected = [*numbers, *sex, *cp, *fbs, *restecg, *exang, *slope, *thal, *missing]
    np.testing.assert_allclose(features, np.array(expected, np.float32), rtol=1e-6)
    assert features.dtype == np.float32


def test_a_patients_features_depend_on_nobody_else(tmp_path):
    alone = encode(read(tmp_path, GOOD))
    other = "20,0,1,90,600,1,2,60,0,6,1,3,3,0"
    np.testing.assert_array_equal(encode(read(tmp_path, f"{other}\n{GOOD}"))[1], alone[0])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2,3", "3 values, expected 14"),
        (GOOD + ",9", "15 values, expected 14"),
        (GOOD.replace("270.0", "much"), 'chol is "much", expected a number'),
        (GOOD.replace("270.0", "inf"), 'chol is "inf", expected a number'),
        (GOOD.replace("63.0", "?"), 'age is "?", expected a number'),
        (GOOD.removesuffix("2") + "?", 'num is "?", expected a number'),
        (GOOD.replace(",4.0,", ",5,"), "cp is 5, expected one of 1, 2, 3, 4"),
        (GOOD.replace("?,7", "?,5"), "thal is 5, expected one of 3, 6, 7"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f"{GOOD}\n{line}\n")
    assert str(caught.value) == f"{tmp_path / 'processed.va.data'}:2: {message}"


def test_an_empty_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no patients in the file"):
        read(tmp_path, "\n")


def test_a_file_that_is_not_ascii_is_refused(tmp_path):
    file = tmp_path / "processed.va.data"
    file.write_bytes(b"63,\xe9")
    with pytest.raises(ConfigError, match=r"processed\.va\.data: byte 3 is not ASCII"):
        read_hospital(file)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    file = tmp_path / "processed.va.data"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.encode() + b"\n")
    np.testing.assert_array_equal(read_hospital(file), read(tmp_path, GOOD))
