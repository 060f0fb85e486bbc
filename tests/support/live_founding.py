"""Creates a small federation with the real command: three clinics, and breast cancer data."""

import csv
import json
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eth_account import Account
from fedproof_command import fedproof
from flower_deployment import free_port
from sklearn.datasets import load_breast_cancer

NAMES = ("berlin", "paris", "rome")

FOUNDING = """
name = "tumours"
seed = 11

[input]
shape = [30]
classes = 2

[features]
names = {names}
mean = {mean}
scale = {scale}
label = "malignant"

[model]
{model}

[training]
epochs = 1
batch_size = 16
learning_rate = 0.1

[round]
min_contributors = {min_contributors}
min_online = {min_online}
duration_s = {duration_s}
rounds = {rounds}
sealed = {sealed}

[windows]
challenge_window_s = {challenge_s}
unbonding_s = 3600
answer_s = 60

[chain]
rpc = "{rpc}"

[host]
host = "{host}"
names = {host_names}
http_port = {http_port}
superlink_port = {superlink_port}
{tables}"""


@dataclass(frozen=True)
class Shape:
    """The options of a federation for a test."""

    names: Sequence[str] = NAMES
    rounds: int = 0
    duration_s: int = 120
    min_contributors: int = 2
    min_online: int = 0
    challenge_s: int = 2
    sealed: bool = False
    rpc: str = ""
    model: str = 'kind = "logistic"'
    """The lines of ``[model]``."""
    tables: str = ""
    """Further tables of federation.toml."""
    modules: Mapping[str, str] = field(default_factory=dict)
    """Python files by name: next to federation.toml, and to each participant's settings."""
    host: str = "127.0.0.1"
    host_names: Sequence[str] = ("localhost", "127.0.0.1")
    pause_s: float | None = None
    """Between two rounds; ``None`` is 5 s if their number has no end, so that others can work."""
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Further lines of coordinator.toml, by section and key."""


def found_live(folder: Path, shape: Shape) -> Path:
    """Create a federation with the command, and give every participant its part of the data."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "federation.toml"
    accounts = {name: light_account(folder / "accounts", name) for name in shape.names}
    config.write_text(_founding(shape, accounts))
    for file, text in shape.modules.items():
        (folder / file).write_text(text)
    root, coordinator = folder / "federation", folder / "accounts" / "coordinator"
    light_account(coordinator.parent, coordinator.name)
    done = fedproof(
        *("federation", "init", "--config", config, "--out", root),
        *("--key", coordinator.with_suffix(".json")),
        *("--password-file", coordinator.with_suffix(".password")),
    )
    assert done.returncode == 0, done.stderr
    for number, name in enumerate(shape.names):
        place = root / "participants" / name
        shutil.copy(folder / "accounts" / f"{name}.json", place / "account.json")
        shutil.copy(folder / "accounts" / f"{name}.password", place / "password.txt")
        set_lines(place / "participant.toml", "account", {"password_file": '"password.txt"'})
        write_patients(place / "data.csv", number, len(shape.names))
        for file, text in shape.modules.items():
            (place / file).write_text(text)
    pause_s = (0.0 if shape.rounds else 5.0) if shape.pause_s is None else shape.pause_s
    lines = {"round": {"presence_s": "0.5", "pause_s": str(pause_s)}}
    for section, values in {**lines, **shape.settings}.items():
        set_lines(root / "coordinator.toml", section, {**lines.get(section, {}), **values})
    return root


def light_account(folder: Path, name: str) -> str:
    """Write a new key file with fast key stretching, and its password; return the address."""
    folder.mkdir(exist_ok=True)
    account, password = Account.create(), secrets.token_urlsafe(16)
    key, words = folder / f"{name}.json", folder / f"{name}.password"
    for path in (key, words):
        path.touch(mode=0o600)
    key.write_text(json.dumps(account.encrypt(password, kdf="pbkdf2", iterations=2)))
    words.write_text(password + "\n")
    return str(account.address)


def _founding(shape: Shape, accounts: Mapping[str, str]) -> str:
    data = load_breast_cancer()
    columns = [str(name).replace(" ", "_") for name in data.feature_names]
    text = FOUNDING.format(
        names=json.dumps(columns),
        mean=[round(float(value), 3) for value in data.data.mean(axis=0)],
        scale=[round(float(value), 6) for value in data.data.std(axis=0)],
        min_contributors=shape.min_contributors,
        min_online=shape.min_online,
        duration_s=shape.duration_s,
        rounds=shape.rounds,
        sealed=str(shape.sealed).lower(),
        challenge_s=shape.challenge_s,
        rpc=shape.rpc,
        host=shape.host,
        host_names=json.dumps(list(shape.host_names)),
        http_port=free_port(),
        superlink_port=free_port(),
        model=shape.model,
        tables=shape.tables,
    )
    return text + "".join(
        f'\n[[participants]]\nname = "{name}"\naddress = "{address}"\n'
        for name, address in accounts.items()
    )


def write_patients(path: Path, part: int, parts: int) -> None:
    """Write every ``parts``-th patient of the breast cancer data, with a header line."""
    data = load_breast_cancer()
    columns = [str(name).replace(" ", "_") for name in data.feature_names]
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow([*columns, "malignant"])
        for row, label in zip(data.data[part::parts], data.target[part::parts], strict=True):
            table.writerow([*map(float, row), 1 - int(label)])


def set_lines(toml: Path, section: str, values: Mapping[str, str]) -> None:
    """Set keys of a section of a TOML file, in place or as new lines of the section."""
    text = toml.read_text()
    head, title, rest = text.partition(f"[{section}]")
    body, bracket, tail = rest.partition("\n[")
    if not title:
        head, title = text + "\n", f"[{section}]"
    for key, value in values.items():
        line = f"{key} = {value}"
        body, count = re.subn(rf"(?m)^{re.escape(key)} = .*$", lambda _m, to=line: to, body)
        if not count:
            body = body.rstrip("\n") + f"\n{line}\n"
    toml.write_text(head + title + body + bracket + tail)
