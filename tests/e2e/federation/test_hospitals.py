"""Five real daemons on one machine: found, train, verify, pay, stop; and the same on anvil."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from anvil import running_anvil
from fedproof_command import fedproof
from real_data import real_data_if_any
from web3 import Web3

from contracts.binding.federation import Federation
from contracts.binding.rpc import rpc_of
from coordinator.protocol.types import Address
from coordinator.settings.agreement import read_agreement
from coordinator.settings.participant import load_participant
from simulations.hospitals.daemons import Daemons
from simulations.hospitals.data import load_hospitals
from simulations.hospitals.founding import Ports, found_hospitals
from simulations.hospitals.view import FederationView, RoundView

ETHER = 10**18


def processes_of(folder: Path) -> Iterator[str]:
    """Yield the command lines of processes that have to do with a folder."""
    wanted = os.fsencode(folder)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            around = (entry / "environ").read_bytes()
        except OSError:  # gone, or somebody else's
            continue
        if wanted in command or wanted in around:
            yield command.replace(b"\0", b" ").decode(errors="replace")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demonstration_runs_verifies_pays_and_leaves_nothing(tmp_path: Path) -> None:
    out, data = tmp_path / "demo", real_data_if_any()
    where = [] if data is None else ["--data", data]
    done = fedproof("hospitals", "--out", out, "--rounds", "2", *where, timeout=840)
    assert done.returncode == 0, done.stdout + done.stderr
    text = done.stdout
    assert ("taking the bundled breast-cancer data" in text) == (data is None)
    shares = [float(share) for share in re.findall(r"^ \d/2 .*?(\d+\.\d)%", text, re.MULTILINE)]
    assert len(shares) == 2
    assert shares[-1] > (80.0 if data is None else 60.0), text
    # what the hospitals claim of a model is what anybody with their test patients computes
    claims = re.findall(r"^round (\d): accuracy (\d+\.\d)%, loss .* claimed by 4 of 4 ", text, re.M)
    assert claims[0] == ("1", str(shares[0])), text
    report = fedproof("report", out / "coordinator")
    assert report.returncode == 0, report.stderr
    assert f" {shares[0]}% |" in (out / "coordinator" / "report.md").read_text()
    assert len(re.findall(r"^ok   round   \d  final +4 contributors", text, re.MULTILINE)) == 2
    assert "2 rounds hold, 2 ETH paid" in text
    earned = re.findall(r"^([\w-]+) +bond +5 ETH +earned +([\d.]+) ETH$", text, re.MULTILINE)
    invented, real = {"north", "east", "south", "west"}, load_hospitals(data).hospitals
    assert {name for name, _ in earned} == (invented if data is None else {h.name for h in real})
    assert sum(float(amount) for _, amount in earned) == pytest.approx(2.0, abs=0.001)
    assert list(processes_of(tmp_path)) == []
    again = fedproof("hospitals", "--out", out)
    assert again.returncode == 2
    assert "holds an earlier demonstration; --fresh deletes it" in again.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_line_moves_the_federation_to_another_chain(tmp_path: Path) -> None:
    data = load_hospitals(None)
    with running_anvil() as url:
        founded = found_hospitals(data, tmp_path / "demo", 2, Ports.free(), url)
        # init said who needs how much; here everybody gets it
        assert "found 0 wei" in founded.waiting_for
        rpc = rpc_of(Web3(Web3.HTTPProvider(url)))
        coordinator = founded.agreed.deployment.terms.coordinator
        for account in (coordinator, *(one.address for one in founded.participants)):
            rpc.request("anvil_setBalance", account, hex(100 * ETHER))
        names = [one.name for one in data.hospitals]
        with Daemons(tmp_path / "demo", names) as daemons:
            daemons.start()
            rounds = wait_for_rounds(tmp_path / "demo", url, daemons, 2)
            north = tmp_path / "demo" / data.hospitals[0].name
            store, ca = load_participant(north / "participant.toml").coordinator.store, "ca.crt"
            done = fedproof("verify", "--rpc", url, "--store", store, "--ca", ca, cwd=north)
            assert done.returncode == 0, done.stdout + done.stderr
            assert "2 rounds hold, 2 ETH paid" in done.stdout
            done = fedproof("claim", "--config", "participant.toml", cwd=north)
            assert done.returncode == 0, done.stderr
        assert [(one.number, one.contributors) for one in rounds] == [(1, 4), (2, 4)]
        w3 = Web3(Web3.HTTPProvider(url))
        federation = Federation(w3, Address(founded.agreed.agreement.contract))
        claimed = federation.account(Address(founded.participants[0].address)).claimed_wei
        assert claimed > ETHER // 10
        bonds = [federation.account(Address(one.address)).bond_wei for one in founded.participants]
        assert bonds == [5 * ETHER] * 4
    assert not (tmp_path / "demo" / "coordinator" / "state" / "chain").exists()
    assert list(processes_of(tmp_path)) == []


def wait_for_rounds(folder: Path, url: str, daemons: Daemons, count: int) -> list[RoundView]:
    """Wait until rounds are final; whoever ends meanwhile fails the test by name."""
    data = load_hospitals(None)
    place = folder / data.hospitals[0].name
    settings = load_participant(place / "participant.toml")
    assert settings.coordinator.rpc == url
    agreement = read_agreement(place / "federation.json")
    store = settings.coordinator.store
    view = FederationView(agreement, url, store, place / "ca.crt", data.hospitals, (), ())
    end = time.monotonic() + 600
    while time.monotonic() < end:
        daemons.check()
        found = view.rounds(0) if view.is_up() else []
        if [one.status for one in found] == ["final"] * count:
            return found
        time.sleep(0.5)
    raise AssertionError((folder / "logs" / "coordinator.log").read_text()[-3000:])
