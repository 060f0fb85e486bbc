"""NumPy files, images, IDX pairs and loader functions; what each refuses, by name."""

import gzip
import struct

import numpy as np
import pytest
from PIL import Image

from clients.data.arrays import read_npy, read_npz
from clients.data.examples import LocalData, Scaling, check_fits, class_count
from clients.data.function import call_loader
from clients.data.images import read_idx_pair, read_image_folder
from clients.data.load import load_data
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.scores.architecture import Architecture, Flatten, Linear
from coordinator.settings.learning import Features
from coordinator.settings.participant import (
    CsvData,
    IdxData,
    ImageFolderData,
    NumpyData,
    PythonData,
)

X = np.array([[1, 2], [3, 4], [5, 6]], np.int64)
Y = np.array([0, 1, 1], np.int8)
NONE = Scaling()


# --- NumPy -----------------------------------------------------------------------------------


def test_npz_and_npy_give_the_same_examples(tmp_path):
    np.savez(tmp_path / "both.npz", a=X, b=Y)
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    scaling = Scaling((1.0, 2.0), (2.0, 2.0))
    for data in (
        read_npz(tmp_path / "both.npz", "a", "b", scaling),
        read_npy(tmp_path / "x.npy", tmp_path / "y.npy", scaling),
    ):
        assert data.x.tolist() == [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]
        assert (data.x.dtype, data.y.tolist()) == (np.float32, [0, 1, 1])


def test_pickles_are_never_loaded(tmp_path):
    class Fires:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    np.save(tmp_path / "x.npy", np.array([Fires()], object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", x=np.array([Fires()], object), y=Y)
    with pytest.raises(ConfigError, match=r"x\.npy: holds pickled objects, which are never loaded"):
        read_npy(tmp_path / "x.npy", tmp_path / "x.npy", NONE)
    with pytest.raises(ConfigError, match=r"x\.npz: holds pickled objects"):
        read_npz(tmp_path / "x.npz", "x", "y", NONE)


def test_other_files_are_named(tmp_path):
    np.savez(tmp_path / "good.npz", x=X, y=Y)
    np.save(tmp_path / "one.npy", X)
    with pytest.raises(ConfigError, match=r"good\.npz: no array 'labels', found x, y"):
        read_npz(tmp_path / "good.npz", "x", "labels", NONE)
    with pytest.raises(ConfigError, match=r"one\.npy: a single array, expected an \.npz archive"):
        read_npz(tmp_path / "one.npy", "x", "y", NONE)
    with pytest.raises(ConfigError, match=r"good\.npz: an archive of arrays, expected a single"):
        read_npy(tmp_path / "good.npz", tmp_path / "one.npy", NONE)
    with pytest.raises(ConfigError, match=r"none\.npz: cannot be read: No such file"):
        read_npz(tmp_path / "none.npz", "x", "y", NONE)
    whole = (tmp_path / "good.npz").read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.npz").write_bytes(whole[:size])
        with pytest.raises(ConfigError, match=r"cut\.npz: "):
            read_npz(tmp_path / "cut.npz", "x", "y", NONE)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X, Y[:2], "3 examples and 2 labels, expected as many of both, not 0"),
        (X[:0], Y[:0], "0 examples and 0 labels"),
        (X, Y.astype(float), "labels have shape (3,) and type float64, expected one whole number"),
        (X, Y.reshape(3, 1), "labels have shape (3, 1)"),
        (X, np.array([0, -1, 0]), "label of example 1 is -1, expected 0 or more"),
        (X[:, 0], Y, "features have shape (3,) and type int64, expected numbers of shape"),
        (X.astype(complex), Y, "type complex128"),
        (X.astype(str), Y, "expected numbers"),
        (np.where(X == 4, np.nan, X), Y, "example 1 is nan at position [1], expected a finite"),
    ],
)
def test_arrays_that_are_no_examples_are_refused(tmp_path, x, y, message):
    np.savez(tmp_path / "a.npz", x=x, y=y)
    with pytest.raises(ConfigError) as caught:
        read_npz(tmp_path / "a.npz", "x", "y", NONE)
    assert str(caught.value).startswith(f"{tmp_path}/a.npz: ")
    assert message in str(caught.value)


# --- images ----------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path):
    for name, value in (("cat", 0), ("dog", 255)):
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        for number, suffix in enumerate(("png", "pgm")):
            pixels = np.full((2, 3), value, np.uint8)
            pixels[0, number] = 51
            Image.fromarray(pixels).save(folder / f"{number}.{suffix}")
    return tmp_path / "pictures"


def test_a_class_a_folder(pictures):
    data = read_image_folder(pictures, (1, 2, 3), (), NONE)
    assert data.x.shape == (4, 1, 2, 3)
    assert data.y.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(data.x[0, 0], [[0.2, 0, 0], [0, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(data.x[3, 0], [[1, 0.2, 1], [1, 1, 1]], rtol=1e-6)
    ordered = read_image_folder(pictures, (1, 2, 3), ("eel", "dog", "cat"), Scaling((1.0,), (0.5,)))
    assert ordered.y.tolist() == [1, 1, 2, 2]
    assert float(ordered.x[0, 0, 1, 0]) == 0.0
    assert float(ordered.x[2, 0, 1, 0]) == -2.0


def test_channels_are_the_models(pictures):
    colour = read_image_folder(pictures, (3, 2, 3), (), NONE)
    assert colour.x.shape == (4, 3, 2, 3)
    red = np.zeros((2, 3, 3), np.uint8)
    red[..., 0] = 255
    Image.fromarray(red).save(pictures / "cat" / "red.png")
    assert read_image_folder(pictures, (3, 2, 3), (), NONE).x[2, :, 0, 0].tolist() == [1, 0, 0]
    with pytest.raises(ConfigError, match=r"red\.png: coloured, expected grey"):
        read_image_folder(pictures, (1, 2, 3), (), NONE)
    grey = read_image_folder(pictures, (1, 2, 3), (), NONE, grey=True)
    np.testing.assert_allclose(grey.x[2], 76 / 255)


def test_what_is_no_image_of_the_federation_is_named(pictures):
    with pytest.raises(ConfigError, match=r"0\.png: 3x2 pixels, expected 4x2"):
        read_image_folder(pictures, (1, 2, 4), (), NONE)
    with pytest.raises(ConfigError, match=r"dog: unknown class, expected cat"):
        read_image_folder(pictures, (1, 2, 3), ("cat",), NONE)
    with pytest.raises(ConfigError, match=r"takes examples of shape \(6,\), expected images"):
        read_image_folder(pictures, (6,), (), NONE)
    (pictures / "cat" / "notes.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"notes\.txt: expected an image, one of \.png"):
        read_image_folder(pictures, (1, 2, 3), (), NONE)
    (pictures / "cat" / "notes.txt").unlink()
    (pictures / "cat" / "1.pgm").write_bytes(b"hello")
    with pytest.raises(ConfigError, match=r"1\.pgm: not an image"):
        read_image_folder(pictures, (1, 2, 3), (), NONE)
    whole = (pictures / "cat" / "0.png").read_bytes()
    (pictures / "cat" / "0.png").write_bytes(whole[:50])
    with pytest.raises(ConfigError, match=r"0\.png: "):
        read_image_folder(pictures, (1, 2, 3), (), NONE)


def test_empty_and_missing_folders_are_named(tmp_path):
    with pytest.raises(ConfigError, match="none: cannot be read: No such file"):
        read_image_folder(tmp_path / "none", (1, 2, 3), (), NONE)
    with pytest.raises(ConfigError, match="no sub-folders, expected one for each class"):
        read_image_folder(tmp_path, (1, 2, 3), (), NONE)
    (tmp_path / "cat").mkdir()
    with pytest.raises(ConfigError, match="no images, expected sub-folders"):
        read_image_folder(tmp_path, (1, 2, 3), (), NONE)


def idx(values):
    header = struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.astype(np.uint8).tobytes()


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_an_idx_pair(tmp_path, suffix):
    images, labels = tmp_path / f"i{suffix}", tmp_path / f"l{suffix}"
    pixels = np.arange(12).reshape(3, 2, 2) * 5
    for path, values in ((images, pixels), (labels, np.array([2, 0, 1]))):
        path.write_bytes(gzip.compress(idx(values)) if suffix else idx(values))
    data = read_idx_pair(images, labels, (1, 2, 2), NONE)
    assert (data.x.shape, data.y.tolist()) == ((3, 1, 2, 2), [2, 0, 1])
    np.testing.assert_allclose(data.x[2, 0], [[40 / 255, 45 / 255], [50 / 255, 55 / 255]])
    short = idx(np.array([2, 0]))
    labels.write_bytes(gzip.compress(short) if suffix else short)
    with pytest.raises(ConfigError, match=r"has 2 labels, but i.* has 3 items"):
        read_idx_pair(images, labels, (1, 2, 2), NONE)


# --- functions -------------------------------------------------------------------------------


def two_examples(value=1.0):
    return [[value, 2.0], [3.0, 4.0]], [0, 1]


def not_a_pair():
    return [[1.0]]


def raises():
    raise RuntimeError("no such hospital")


def batches(sizes=(2, 1)):
    for size in sizes:
        yield [[0.0, 1.0]] * size, [1] * size


def a_torch_loader():
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    examples = TensorDataset(torch.arange(6.0).reshape(3, 2), torch.tensor([0, 2, 1]))
    return DataLoader(examples, batch_size=2)


def odd_batches():
    yield [[0.0]], [1]
    yield [[0.0, 1.0]], [1]


def batches_of_one_array():
    yield np.zeros((2, 2))


def ragged():
    return [[0.0], [0.0, 1.0]], [0, 1]


def fails_later():
    yield [[0.0]], [1]
    raise KeyError("sick")


def nothing():
    return None


NOT_CALLABLE = 7


def test_a_function_of_ones_own():
    data = call_loader(f"{__name__}:two_examples", {"value": 9.0})
    assert (data.x.tolist(), data.y.tolist()) == ([[9.0, 2.0], [3.0, 4.0]], [0, 1])


def test_batches_are_put_together():
    data = call_loader(f"{__name__}:batches", {})
    assert (data.x.tolist(), data.y.tolist()) == ([[0.0, 1.0]] * 3, [1, 1, 1])
    data = call_loader(f"{__name__}:a_torch_loader", {})
    assert (data.x.tolist(), data.y.tolist()) == ([[0, 1], [2, 3], [4, 5]], [0, 2, 1])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("not_a_pair", {}, "returned list, expected a pair of arrays, features and labels, or"),
        ("nothing", {}, "returned NoneType, expected a pair of arrays"),
        ("np", {}, "module, expected something to call"),
        ("X", {}, "ndarray, expected something to call"),
        ("batches", {"sizes": []}, "yields nothing, expected batches of features and labels"),
        ("batches", {"sizes": [0]}, "0 examples and 0 labels, expected as many of both, not 0"),
        ("batches_of_one_array", {}, "batch 0 is ndarray, expected a pair of arrays"),
        ("odd_batches", {}, "batches that do not fit together"),
        ("ragged", {}, "cannot be made into arrays"),
        ("fails_later", {}, r"KeyError: 'sick' \(test_array_data.py, line \d+\)"),
        ("raises", {}, r"RuntimeError: no such hospital \(test_array_data.py, line \d+\)"),
        ("two_examples", {"size": 1}, "unexpected keyword argument 'size'"),
        ("none", {}, "has no none"),
        ("NOT_CALLABLE", {}, "int, expected something to call"),
    ],
)
def test_a_function_that_will_not_do_is_named(name, options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        call_loader(f"{__name__}:{name}", options)
    assert "\n" not in str(caught.value)


def test_references_that_cannot_be_resolved():
    with pytest.raises(ConfigError, match=r'"nowhere": expected "package\.module:name"'):
        call_loader("nowhere", {})
    with pytest.raises(ConfigError, match=r'"no\.such\.module:f": cannot import no\.such\.module'):
        call_loader("no.such.module:f", {})


# --- against the federation's model ----------------------------------------------------------

MODEL = Architecture((Linear(2, 3),), (2,))


def test_examples_must_fit_the_model():
    data = LocalData(X.astype(np.float32), Y.astype(np.int64), "here")
    assert check_fits(data, MODEL) is data
    with pytest.raises(ConfigError) as caught:
        check_fits(data, Architecture((Flatten(), Linear(4, 3)), (1, 2, 2)))
    assert str(caught.value) == (
        "here: examples have shape (2,), the federation's model takes (1, 2, 2)"
    )
    one_class_less = Architecture((Linear(2, 2),), (2,))
    assert class_count(one_class_less) == class_count(Architecture((Linear(2, 1),), (2,))) == 2
    with pytest.raises(ConfigError) as caught:
        check_fits(LocalData(data.x, np.array([0, 2, 1]), "here"), one_class_less)
    assert str(caught.value) == (
        "here: label of example 1 is 2, the federation's model has classes 0 to 1"
    )


def test_every_kind_of_section_is_loaded(tmp_path, pictures):
    np.savez(tmp_path / "d.npz", x=X, y=Y)
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    (tmp_path / "d.csv").write_text("a,b,out\n1,2,0\n3,4,1\n5,6,1\n")
    (tmp_path / "d.idx").write_bytes(idx(X))
    (tmp_path / "l.idx").write_bytes(idx(Y))
    agreed = Features(names=["b", "a"], mean=[2.0, 1.0], scale=[1.0, 1.0], label="out")
    none = Features()

    def load(section, features=none, model=MODEL, **options):
        return load_data(section, features, model, tmp_path, **options)

    assert load(CsvData(path="d.csv"), agreed).x.tolist() == [[0, 0], [2, 2], [4, 4]]
    own = CsvData(path="d.csv", label="out", features=["a", "b"])
    assert load(own, agreed).x.tolist() == [[-1, 1], [1, 3], [3, 5]]
    with pytest.raises(ConfigError, match=r"data\.features names 1 columns, .* agreed on 2: b, a"):
        load(CsvData(path="d.csv", features=["a"]), agreed)
    assert load(NumpyData(kind="numpy", path="d.npz")).x.tolist() == X.tolist()
    pair = NumpyData(kind="numpy", path="x.npy", labels_path="y.npy")
    assert load(pair, max_examples=2).x.tolist() == [[1, 2], [3, 4]]
    rows = load(IdxData(kind="idx", images="d.idx", labels="l.idx"))
    np.testing.assert_allclose(rows.x, X / 255, rtol=1e-6)
    images = Architecture((Flatten(), Linear(6, 2)), (1, 2, 3))
    for kind in ("images", "image_folder"):
        folder = ImageFolderData(kind=kind, path="pictures")
        assert len(load(folder, model=images)) == 4
    function = PythonData(kind="python", function=f"{__name__}:two_examples")
    assert load(function).x.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_a_limit_takes_examples_evenly():
    data = LocalData(np.arange(10, dtype=np.float32).reshape(10, 1), np.arange(10), "here")
    assert data.first(4).y.tolist() == [0, 2, 5, 7]
    assert data.first(0) is data
    assert data.first(10) is data
