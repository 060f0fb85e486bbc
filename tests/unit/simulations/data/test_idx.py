import gzip
import struct

import numpy as np
import pytest

from clients.data.idx import read_idx
from coordinator.protocol.errors import ConfigError
from simulations.data import load_dataset
from simulations.data.fashion_mnist import FILES, FashionMnistData


def idx(values, magic=None):
    shape = values.shape
    header = struct.pack(">HBB", 0, 8, len(shape)) if magic is None else magic
    return header + struct.pack(f">{len(shape)}I", *shape) + values.astype(np.uint8).tobytes()


def write(path, data):
    path.write_bytes(gzip.compress(data, mtime=0))
    return path


VALUES = np.arange(12).reshape(3, 2, 2)


def test_items_come_back(tmp_path):
    found = read_idx(write(tmp_path / "x.gz", idx(VALUES)), (2, 2), 3)
    np.testing.assert_array_equal(found, VALUES)
    assert found.dtype == np.uint8


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an IDX file of this kind: magic number is missing, expected 00000803"),
        (
            idx(VALUES, magic=b"\0\0\x0d\x03"),
            "not an IDX file of this kind: magic number is 00000d03, expected 00000803",
        ),
        (
            idx(VALUES[0]),
            "not an IDX file of this kind: magic number is 00000802, expected 00000803",
        ),
        (idx(VALUES)[:9], "IDX header ends after 9 bytes, expected 16"),
        (
            idx(VALUES.reshape(3, 4, 1)),
            "IDX dimensions are (3, 4, 1), expected 1 to 3 items of shape (2, 2)",
        ),
        (
            idx(np.zeros((4, 2, 2))),
            "IDX dimensions are (4, 2, 2), expected 1 to 3 items of shape (2, 2)",
        ),
        (
            idx(np.zeros((0, 2, 2))),
            "IDX dimensions are (0, 2, 2), expected 1 to 3 items of shape (2, 2)",
        ),
        (idx(VALUES)[:-1], "IDX header promises 12 bytes of values, found only 11"),
        (idx(VALUES) + b"x", "IDX header promises 12 bytes of values, found more"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, data, message):
    path = write(tmp_path / "x.gz", data)
    with pytest.raises(ConfigError) as caught:
        read_idx(path, (2, 2), 3)
    assert str(caught.value) == f"{path}: {message}"


def test_a_size_that_is_only_claimed_costs_nothing(tmp_path):
    header = struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2, 2)
    with pytest.raises(ConfigError, match="4294967295"):
        read_idx(write(tmp_path / "x.gz", header), (2, 2), 60_000)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-9],
        lambda data: data[: len(data) // 2],
        lambda data: b"PK" + data[2:],
        lambda data: data[:-8] + bytes([data[-8] ^ 1]) + data[-7:],
        lambda data: data[:12] + bytes([data[12] ^ 0xFF]) + data[13:],
    ],
    ids=["no-trailer", "half", "not-gzip", "checksum", "stream"],
)
def test_a_damaged_gzip_file_is_named(tmp_path, spoil):
    path = write(tmp_path / "x.gz", idx(VALUES))
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ConfigError, match=r"x\.gz: corrupt or truncated gzip file: "):
        read_idx(path, (2, 2), 3)


def test_an_unreadable_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_idx(tmp_path, (2, 2), 3)


@pytest.fixture
def fashion(tmp_path):
    """A whole, tiny Fashion-MNIST: three images to train on and two to test."""
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    for images, labels, count in ((0, 1, 3), (2, 3, 2)):
        pixels = np.full((count, 28, 28), 255)
        pixels[0] = 0
        write(folder / FILES[images], idx(pixels))
        write(folder / FILES[labels], idx(np.arange(count) + 7))
    return tmp_path


def test_fashion_mnist_is_standardised_by_constants(fashion):
    data = load_dataset(FashionMnistData(), fashion, 1)
    assert data.train_x.shape == (3, 1, 28, 28)
    assert data.train_y.tolist() == [7, 8, 9]
    assert data.test_y.tolist() == [7, 8]
    np.testing.assert_allclose(data.train_x[0], -0.286 / 0.353, rtol=1e-5)
    np.testing.assert_allclose(data.train_x[1], 0.714 / 0.353, rtol=1e-5)


def test_labels_must_be_as_many_as_images_and_classes(fashion):
    labels = fashion / "fashion-mnist" / FILES[1]
    write(labels, idx(np.arange(2)))
    with pytest.raises(ConfigError) as caught:
        load_dataset(FashionMnistData(), fashion, 1)
    assert str(caught.value) == f"{labels}: has 2 labels, but {FILES[0]} has 3 images"
    write(labels, idx(np.array([1, 2, 10])))
    with pytest.raises(ConfigError, match="label 10 found, expected 0 to 9"):
        load_dataset(FashionMnistData(), fashion, 1)
