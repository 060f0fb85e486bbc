"""Files as other programs write them: byte order marks, large numbers, absent classes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clients.data.arrays import read_npy, read_npz
from clients.data.examples import LocalData, Scaling, check_fits
from clients.data.images import read_image_folder
from clients.data.table import TableFormat, read_table
from coordinator.protocol.errors import ConfigError
from coordinator.protocol.scores.architecture import Architecture, Flatten, Linear
from coordinator.settings.load import read_toml

MARK = b"\xef\xbb\xbf"
FAR = Scaling((1.7e9,), (10.0,))


@pytest.mark.parametrize(
    ("text", "layout"),
    [
        (b'"age","chol","y"\n1,2,0\n3,4,1\n', TableFormat(label="y", features=("age", "chol"))),
        (b"age,chol,y\n1,2,0\n3,4,1\n", TableFormat(label="y", features=("age", "chol"))),
        (b"1,2,0\n3,4,1\n", TableFormat(label="y", columns=("age", "chol", "y"))),
        (b'"1",2,0\n3,4,1\n', TableFormat(label="y", columns=("age", "chol", "y"))),
    ],
)
def test_a_table_may_begin_with_a_byte_order_mark(
    tmp_path: Path, text: bytes, layout: TableFormat
) -> None:
    file = tmp_path / "t.csv"
    for mark in (b"", MARK):
        file.write_bytes(mark + text)
        assert read_table(file, layout).x.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_a_mark_in_the_middle_of_a_table_is_no_number(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes(b"age,y\n" + MARK + b"1,0\n")
    with pytest.raises(ConfigError, match=r"t\.csv:2: age is .*expected a number"):
        read_table(file, TableFormat(label="y"))


def test_toml_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_bytes(MARK + b'name = "x"\n')
    assert read_toml(file) == {"name": "x"}
    file.write_bytes("name = 1".encode("utf-16"))
    with pytest.raises(ConfigError, match=r"byte 0 is not UTF-8"):
        read_toml(file)


@pytest.mark.parametrize("kind", ["int64", "uint64", "float64"])
def test_values_are_scaled_before_they_are_rounded(tmp_path: Path, kind: str) -> None:
    x, y = np.array([[1_700_000_000], [1_700_000_040]], kind), np.array([0, 1])
    np.savez(tmp_path / "a.npz", x=x, y=y)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    (tmp_path / "a.csv").write_text("t,y\n1700000000,0\n1700000040,1\n")
    wanted = [[0.0], [4.0]]
    assert read_npz(tmp_path / "a.npz", "x", "y", FAR).x.tolist() == wanted
    assert read_npy(tmp_path / "x.npy", tmp_path / "y.npy", FAR).x.tolist() == wanted
    table = read_table(tmp_path / "a.csv", TableFormat(label="y", scaling=FAR))
    assert table.x.tolist() == wanted


def test_what_scaling_brings_into_range_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([[1e39]]), y=np.array([0]))
    near = Scaling((1e39,), (1.0,))
    assert read_npz(tmp_path / "a.npz", "x", "y", near).x.tolist() == [[0.0]]
    with pytest.raises(ConfigError, match=r"example 0 is inf at position \[0\], expected a finite"):
        read_npz(tmp_path / "a.npz", "x", "y", Scaling())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scaling_hides_no_value_that_is_not_finite(tmp_path: Path, bad: float) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([[0.0], [bad]]), y=np.array([0, 1]))
    with pytest.raises(ConfigError, match=r"example 1 is .* expected a finite number"):
        read_npz(tmp_path / "a.npz", "x", "y", FAR)


def three_classes() -> Architecture:
    return Architecture((Flatten(), Linear(4, 3)), (1, 2, 2))


def folder_of(root: Path, *classes: str) -> Path:
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        Image.new("L", (2, 2), number).save(root / name / "a.png")
    return root


def images(root: Path, classes: tuple[str, ...] = ()) -> LocalData:
    return read_image_folder(root, (1, 2, 2), classes, Scaling())


def test_classes_are_not_numbered_by_what_one_site_has(tmp_path: Path) -> None:
    site = folder_of(tmp_path, "dog", "eel")
    with pytest.raises(
        ConfigError,
        match=r"2 sub-folders \(dog, eel\), the model has 3 classes; list all classes in their "
        r"agreed order in data.classes",
    ):
        check_fits(images(site), three_classes())
    listed = check_fits(images(site, ("cat", "dog", "eel")), three_classes())
    assert listed.y.tolist() == [1, 2]


def test_a_site_that_has_all_classes_need_not_list_them(tmp_path: Path) -> None:
    site = folder_of(tmp_path, "cat", "dog", "eel")
    assert check_fits(images(site), three_classes()).y.tolist() == [0, 1, 2]
    assert check_fits(images(site), three_classes()).first(2).own_classes


def test_what_archive_programs_leave_is_no_class(tmp_path: Path) -> None:
    site = folder_of(tmp_path, "cat", "dog", "eel")
    (site / "__MACOSX").mkdir()
    (site / "__MACOSX" / "._a.png").write_bytes(b"x")
    (site / "cat" / "Thumbs.db").write_bytes(b"x")
    (site / ".DS_Store").write_bytes(b"x")
    for classes in ((), ("cat", "dog", "eel")):
        assert check_fits(images(site, classes), three_classes()).y.tolist() == [0, 1, 2]


def test_marked_files_of_keys_and_passwords_are_read(tmp_path: Path) -> None:
    from coordinator.local import keyfile

    made = keyfile.create(tmp_path / "k.json", "pw")
    marked, password = tmp_path / "m.json", tmp_path / "pw"
    for file, data in ((marked, (tmp_path / "k.json").read_bytes()), (password, b"pw\n")):
        file.write_bytes(MARK + data)
        file.chmod(0o600)
    assert keyfile.password_from(password, confirm=False) == "pw"
    assert keyfile.load(marked, "pw").address == made.address
    assert keyfile.address_of(marked).lower() == made.address.lower()
    assert json.loads(marked.read_bytes().removeprefix(MARK))["version"] == 3
