"""A ServerApp of one's own as the coordinator of a founded federation."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from eth_account import Account
from fedproof_command import fedproof
from flower_bench import LocalGrid, app_with
from flwr.app import Array
from live_founding import NAMES, Shape, found_live

from fedproof import (
    AggregationError,
    ConfigError,
    FederationChainView,
    FedproofStrategy,
    KeySigner,
    Participant,
    StoreError,
    VerifiableUpdates,
    read_agreement,
    verify,
)


@pytest.fixture
def founded(tmp_path: Path) -> Path:
    """A federation on a chain of its own, whose members have not joined yet."""
    return found_live(tmp_path, Shape(challenge_s=0))


def key_of(root: Path, name: str) -> bytes:
    place = root / "participants" / name
    password = (place / "password.txt").read_text().strip()
    return bytes(Account.decrypt((place / "account.json").read_text(), password))


def grid_of(root: Path) -> LocalGrid:
    apps = {}
    contract = read_agreement(root / "federation.json").contract
    for number, name in enumerate(NAMES):
        settings = tomllib.loads((root / "participants" / name / "participant.toml").read_text())
        view = FederationChainView.at(
            settings["coordinator"]["rpc"],
            contract,
            ca_file=root / "participants" / name / settings["coordinator"]["ca"],
        )
        who = Participant(KeySigner(key_of(root, name)), view)
        apps[number + 2] = app_with([VerifiableUpdates(who)])
    return LocalGrid(apps)


def join(root: Path) -> None:
    for name in NAMES:
        settings = root / "participants" / name / "participant.toml"
        done = fedproof("join", "--config", settings)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_it_coordinates_the_federation_and_goes_on_later(founded: Path):
    strategy = FedproofStrategy.from_file(founded / "coordinator.toml", min_available_nodes=3)
    with pytest.raises(StoreError, match="in use"):
        FedproofStrategy.from_file(founded / "coordinator.toml")
    join(founded)
    initial = strategy.initial_arrays()
    result = strategy.start(grid_of(founded), initial, num_rounds=2)
    first = next(iter(initial))
    # client n adds (n + 1) / 8 to every parameter, weighted by 10 (n + 1): 7 / 24 on average
    step = 2 * 7 / 24
    gained = result.arrays[first].numpy() - initial[first].numpy()
    assert gained == pytest.approx(np.full(gained.shape, step), abs=2**-18)
    findings = verify(founded)
    assert findings.ok, findings.faults
    assert [found.contributors for found in findings.rounds] == [3, 3]

    later = FedproofStrategy.from_file(founded / "coordinator.toml")
    assert later.completed_rounds == 2
    again = later.initial_arrays()
    assert again[first].numpy().tolist() == initial[first].numpy().tolist()
    later.start(grid_of(founded), again, num_rounds=3)
    assert len(verify(founded).rounds) == 3


@pytest.mark.slow
def test_other_arrays_and_a_run_without_members_end_in_errors(founded: Path):
    strategy = FedproofStrategy.from_file(founded / "coordinator.toml")
    other = strategy.initial_arrays()
    first = next(iter(other))
    other[first] = Array(other[first].numpy() + 1)
    with pytest.raises(ConfigError, match="the model the federation agreed on"):
        strategy.start(grid_of(founded), other)
    strategy = FedproofStrategy.from_file(founded / "coordinator.toml")
    assert strategy.completed_rounds == 0
    initial = strategy.initial_arrays()
    with pytest.raises(AggregationError, match="no round was sealed"):  # nobody has joined
        strategy.start(grid_of(founded), initial, num_rounds=1)
    assert verify(founded).ok


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"none/coordinator\.toml"):
        FedproofStrategy.from_file(tmp_path / "none" / "coordinator.toml")
