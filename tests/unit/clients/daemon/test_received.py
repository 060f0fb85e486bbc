"""Models that rounds brought, kept until they are final."""

import numpy as np
import pytest

from clients.daemon.received import ReceivedModels
from coordinator.protocol import wire
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.numbers.manifest import Manifest, TensorSpec

MANIFEST = Manifest((TensorSpec("w", (3,), "float32"),))


def model(first):
    vector = np.array([first, -2, 3], np.int32)
    return parameter_root(vector, MANIFEST), wire.encode_npy(vector), vector


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "received"


def test_a_model_is_taken_once(folder):
    received = ReceivedModels(folder, MANIFEST)
    root, encoded, vector = model(1)
    assert received.take(root) is None
    received.keep(root, encoded)
    received.keep(root, encoded)
    np.testing.assert_array_equal(ReceivedModels(folder, MANIFEST).take(root), vector)
    assert received.take(root) is None
    assert list(folder.iterdir()) == []


def test_what_is_not_the_model_of_the_root_is_not_used(folder):
    received = ReceivedModels(folder, MANIFEST)
    root, _, _ = model(1)
    for other in (model(2)[1], model(1)[1][:-1], b""):
        received.keep(root, other)
        assert received.take(root) is None
        assert list(folder.iterdir()) == []


def test_the_oldest_make_room(folder):
    models = [model(n) for n in range(4)]
    size = len(models[0][1])
    received = ReceivedModels(folder, MANIFEST, max_bytes=2 * size)
    for root, encoded, _ in models[:3]:
        received.keep(root, encoded)
    assert received.take(models[0][0]) is None
    assert received.take(models[1][0]) is not None
    assert received.take(models[2][0]) is not None
    small = ReceivedModels(folder, MANIFEST, max_bytes=size - 1)
    small.keep(models[3][0], models[3][1])
    assert small.take(models[3][0]) is None


def test_a_folder_that_takes_nothing_ends_nothing(folder, caplog):
    folder.write_text("a file, not a folder")
    received = ReceivedModels(folder, MANIFEST)
    root, encoded, _ = model(1)
    received.keep(root, encoded)
    assert "a model was not kept" in caplog.text
    assert received.take(root) is None
