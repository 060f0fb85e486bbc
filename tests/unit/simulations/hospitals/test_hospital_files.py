"""The demonstration's files: what a hospital loads is what the simulator would have made of it."""

from pathlib import Path

import numpy as np
import pytest

from clients.data.load import load_data
from coordinator.models.architecture import architecture
from coordinator.protocol.errors import ConfigError
from coordinator.settings.founding import load_founding
from coordinator.settings.models.logistic import LogisticModel
from coordinator.settings.participant import CsvData
from simulations.data.heart_disease import encode, read_hospital
from simulations.hospitals.data import HospitalData, data_folder, load_hospitals
from simulations.hospitals.demo import Demonstration, run_demonstration
from simulations.hospitals.founding import Ports, founding_file, holds_demonstration


def loaded(data: HospitalData, index: int, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """What the participant's daemon makes of the CSV file."""
    (folder / "data.csv").write_text(data.hospitals[index].csv(data.features))
    section = CsvData(path="data.csv", fill="mean")
    shape = architecture(LogisticModel(), (len(data.features.names),), 2)
    found = load_data(section, data.features, shape, folder)
    return found.x, found.y


def test_a_csv_file_says_the_same_as_the_simulators_encoding(
    real_data: Path, tmp_path: Path
) -> None:
    data = load_hospitals(real_data)
    assert [one.name for one in data.hospitals] == [
        "cleveland",
        "budapest",
        "zurich-basel",
        "long-beach",
    ]
    assert [len(one.train_y) for one in data.hospitals] == [227, 220, 92, 150]
    sites = ("cleveland", "hungarian", "switzerland", "va")
    for index, site in enumerate(sites):
        one = data.hospitals[index]
        table = read_hospital(real_data / "heart-disease" / f"processed.{site}.data")
        x, y = loaded(data, index, tmp_path)
        everything = {row.tobytes() for row in encode(table)}
        assert {row.tobytes() for row in x} <= everything
        assert {row.tobytes() for row in one.test_x} <= everything
        assert len(y) + len(one.test_y) == len(table)
        assert y.sum() + one.test_y.sum() == (table[:, -1] > 0).sum()


def test_the_bundled_data_is_divided_and_scaled(tmp_path: Path) -> None:
    data = load_hospitals(None)
    assert sum(len(one.train_y) + len(one.test_y) for one in data.hospitals) == 569
    assert [len(one.train_y) + len(one.test_y) for one in data.hospitals] == [143, 142, 142, 142]
    x, y = loaded(data, 0, tmp_path)
    assert x.shape == (len(data.hospitals[0].train_y), 30)
    np.testing.assert_array_equal(y, data.hospitals[0].train_y)
    (tmp_path / "test.csv").write_text(data.hospitals[0].test_csv(data.features))
    shape = architecture(LogisticModel(), (30,), 2)
    section = CsvData(path="test.csv", fill="mean")
    tested = load_data(section, data.features, shape, tmp_path)
    np.testing.assert_allclose(tested.x, data.hospitals[0].test_x, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(tested.y, data.hospitals[0].test_y)
    everybody = np.concatenate([one.test_x for one in data.hospitals])
    assert np.abs(everybody.mean(axis=0)).max() < 0.35  # round constants, not fitted ones
    assert 0.7 < everybody.std() < 1.3


def test_the_founding_file_is_one(tmp_path: Path) -> None:
    data = load_hospitals(None)
    path = tmp_path / "federation.toml"
    path.write_text(founding_file(data, 7, Ports(1234, 5678), "http://127.0.0.1:8545"))
    founding = load_founding(path)
    assert founding.features == data.features
    assert (founding.round.rounds, founding.round.min_online) == (7, 4)
    assert (founding.host.http_port, founding.host.superlink_port) == (1234, 5678)
    assert founding.chain.rpc == "http://127.0.0.1:8545"
    assert [one.name for one in founding.participants] == ["north", "east", "south", "west"]


def test_where_the_data_are_comes_from_the_option_or_the_environment() -> None:
    assert data_folder(Path("a"), "b") == (Path("a"), "--data")
    assert data_folder(None, "b") == (Path("b"), "FEDPROOF_DATA")
    assert data_folder(None, None) == (None, "")


def test_a_wrong_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--data .*no such folder; expected heart-disease/"):
        load_hospitals(tmp_path / "none")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    from rich.console import Console

    with pytest.raises(ConfigError, match="is not empty and holds no demonstration"):
        run_demonstration(Demonstration(tmp_path / "mine", fresh=True), Console())
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_only_what_a_demonstration_made_is_taken_for_one(tmp_path: Path) -> None:
    from rich.console import Console

    founding = tmp_path / "federation.toml"
    founding.write_text(founding_file(load_hospitals(None), 7, Ports(1, 2)))
    assert holds_demonstration(tmp_path)  # killed before anything else was there
    for name in ("coordinator", "north", "logs", ".coordinator.unfinished"):
        (tmp_path / name).mkdir()
    assert holds_demonstration(tmp_path)
    (tmp_path / "thesis.txt").write_text("precious")
    assert not holds_demonstration(tmp_path)
    (tmp_path / "thesis.txt").unlink()
    # an organisation's own federation: the same names, the keys of its accounts within
    founding.write_text('name = "hospitals"\n[[participants]]\nname = "north"\n')
    with pytest.raises(ConfigError, match="is not empty and holds no demonstration"):
        run_demonstration(Demonstration(tmp_path, fresh=True), Console())
    assert (tmp_path / "coordinator").is_dir()
