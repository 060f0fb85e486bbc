import numpy as np
import pytest

from coordinator.protocol.canonical import MAX_DEPTH, canonical_json, parse_json
from coordinator.protocol.errors import ConfigError, VerificationError


def test_keys_are_sorted_and_text_is_ascii():
    value = {"z": 1, "a": {"é": [True, None, 1.0, 1]}, "B": "\U0001f600"}
    assert canonical_json(value) == (
        b'{"B":"\\ud83d\\ude00","a":{"\\u00e9":[true,null,1.0,1]},"z":1}'
    )


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.1, b"0.1"),
        (1e16, b"1e+16"),
        (1e-7, b"1e-07"),
        (-0.0, b"-0.0"),
        (10**30, b"1" + b"0" * 30),
    ],
)
def test_numbers_are_written_as_the_shortest_round_trip(number, text):
    assert canonical_json(number) == text


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [0, float("nan")]}, r"\$\.a\[1\] is nan"),
        ({"loss": float("inf")}, r"\$\.loss is inf"),
        ([np.float64(1.0)], r"\$\[0\] is a float64"),
        ({"n": np.int64(3)}, r"\$\.n is a int64"),
        ({1: "x"}, r"the key 1"),
        ({"b": b"raw"}, r"\$\.b is a bytes"),
    ],
)
def test_values_without_a_canonical_form_are_named(value, place):
    with pytest.raises(ConfigError, match=place):
        canonical_json(value)


def test_depth_is_bounded():
    def nested(depth):
        value = []
        for _ in range(depth):
            value = [value]
        return value

    assert canonical_json(nested(MAX_DEPTH)).count(b"[") == MAX_DEPTH + 1
    with pytest.raises(ConfigError, match="deeper than 32"):
        canonical_json(nested(MAX_DEPTH + 1))


def test_parsing_reads_back_what_was_written():
    value = {"a": [1, 2.5, None, True], "brackets": '[[{{"\\"'}
    assert parse_json(canonical_json(value), "test") == value


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'["\\"[",'])
def test_deep_nesting_is_refused_before_it_is_parsed(opening):
    with pytest.raises(VerificationError, match="reply: JSON nested 90000 deep"):
        parse_json(opening * 90_000, "reply")


@pytest.mark.parametrize("data", [b"", b"\xff", b'"open', b"{'a': 1}", b"[1] 2", b'["\n"]'])
def test_bytes_that_are_not_json_are_refused(data):
    with pytest.raises(VerificationError, match="reply: not JSON"):
        parse_json(data, "reply")
