"""Founds the hospitals' federation: writes its founding file, and moves the hospitals' folders."""

import socket
import tomllib
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from clients.data.load import load_data
from coordinator.founding.create import Founded, create_federation
from coordinator.local.files import write_durably
from simulations.hospitals.data import HospitalData

HOST = "127.0.0.1"
FOUNDING = "federation.toml"
_MARK = "# fedproof hospitals: "
_COORDINATOR = "coordinator"
_PARTS = (FOUNDING, _COORDINATOR, f".{_COORDINATOR}.unfinished", "logs")


@dataclass(frozen=True, slots=True)
class Ports:
    """The two ports of a coordinator."""

    http: int
    superlink: int

    @classmethod
    def free(cls) -> "Ports":
        """Return two ports that are free now."""
        with socket.socket() as first, socket.socket() as second:
            for probe in (first, second):
                probe.bind((HOST, 0))
            return cls(first.getsockname()[1], second.getsockname()[1])


def founding_file(data: HospitalData, rounds: int, ports: Ports, rpc: str = "") -> str:
    """Return a ``federation.toml`` for hospitals; ``rpc`` is an external node's, if any."""
    features = data.features
    described = tomli_w.dumps(
        {
            "names": features.names,
            "mean": features.mean,
            "scale": features.scale,
            "label": features.label,
        }
    )
    people = "".join(
        f"\n[[participants]]\n{tomli_w.dumps({'name': hospital.name})}"
        for hospital in data.hospitals
    )
    return f"""\
{_MARK}{data.title}
name = "hospitals"
seed = 3

[input]
shape = [{len(features.names)}]
classes = 2

[features]
{described}
[model]
kind = "logistic"

[training]
epochs = 2
batch_size = 16
learning_rate = 0.05
weight_decay = 0.01

[evaluation]                # by each on its own test.csv, after every round

[aggregator]
kind = "fedavg"
examples_cap = 250          # the largest hospital has 227 patients to learn from

[numbers]
norm_bound = 10.0

[stake]
minimum_wei = "5 ether"

[rewards]
round_budget_wei = "1 ether"

[round]
min_contributors = 3        # one hospital may be away
min_online = {len(data.hospitals)}
duration_s = 120
rounds = {rounds}

[windows]
challenge_window_s = 5
unbonding_s = 600
answer_s = 60

[chain]
{tomli_w.dumps({"rpc": rpc})}
[host]
host = "{HOST}"
http_port = {ports.http}
superlink_port = {ports.superlink}
{people}"""


def holds_demonstration(folder: Path) -> bool:
    """Whether a folder has only files of a demonstration, complete or not."""
    try:
        text = (folder / FOUNDING).read_text(encoding="utf-8")
        people = tomllib.loads(text).get("participants", [])
        names = {*_PARTS, *(str(person["name"]) for person in people)}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError):
        return False
    return text.startswith(_MARK) and all(path.name in names for path in folder.iterdir())


def found_hospitals(
    data: HospitalData, folder: Path, rounds: int, ports: Ports, rpc: str = ""
) -> Founded:
    """Found the federation in ``folder/coordinator``, and move each hospital's folder out of it.

    Raises
    ------
    FedproofError
        As :func:`coordinator.founding.create.create_federation`.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    config = folder / FOUNDING
    write_durably(config, [founding_file(data, rounds, ports, rpc).encode()], mode=None)
    founded = create_federation(config, folder / _COORDINATOR, load_examples=load_data)
    for hospital in data.hospitals:
        place = folder / hospital.name
        founded.folder.participant(hospital.name).rename(place)
        (place / "data.csv").write_text(hospital.csv(data.features), encoding="utf-8")
        (place / "test.csv").write_text(hospital.test_csv(data.features), encoding="utf-8")
        _adjust(place / "participant.toml")
    return founded


def _adjust(settings: Path) -> None:
    """Edit a hospital's settings as it would itself: its data, and no automatic claims."""
    text = settings.read_text(encoding="utf-8")
    for line, replacement in (
        ('path = "data.csv"', 'path = "data.csv"\nfill = "mean"  # empty cells: the agreed mean'),
        ('claim_above_wei = "0.1 ether"', "claim_above_wei = 0  # fedproof claim does it"),
    ):
        assert line in text, line
        text = text.replace(line, replacement)
    data = tomllib.loads(text)["data"]
    text += "\n" + tomli_w.dumps({"test_data": {**data, "path": "test.csv"}})
    settings.write_text(text, encoding="utf-8")
