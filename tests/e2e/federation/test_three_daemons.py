"""A coordinator and participants as processes, TLS on, rounds sealed: killed, shut out, paid."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import participant_bench
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fedproof_command import COMMAND, environment, kill_group
from live_federation import FULL
from participant_bench import Daemon, found_bench
from safetensors import safe_open

from contracts.binding.federation import Federation
from contracts.binding.http_provider import web3_at
from coordinator.founding.certificates import make_authority
from coordinator.settings.agreement import read_agreement
from coordinator.settings.coordinator import load_coordinator

pytestmark = pytest.mark.slow
NAMES = ["ada", "bob", "cyd"]
TIMEOUT_S = 420


@contextmanager
def coordinator(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (root / "coordinator.out").open("ab") as output:
        process = subprocess.Popen(
            [*COMMAND, "coordinator", "--config", "coordinator.toml"],
            cwd=root,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            kill_group(process)


def federation(root: Path) -> Federation:
    port = load_coordinator(root / "coordinator.toml").http.port
    url = f"https://127.0.0.1:{port}/rpc"
    contract = read_agreement(root / "federation.json").domain.verifying_contract
    return Federation(web3_at(url, ca_file=root / "tls" / "ca.crt"), contract)


def wait(holds: Callable[[], object], root: Path, daemons: list[Daemon]) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not holds():
        said = "".join(d.said()[-1500:] for d in daemons)
        said += (root / "coordinator.out").read_text()[-3000:]
        assert time.monotonic() < end, said
        time.sleep(0.3)


@pytest.mark.skipif(not FULL, reason="at full length: make faults")
def test_three_sealed_rounds_with_a_participant_killed_after_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    text = participant_bench.FEDERATION.replace("tls = false", "tls = true")
    text = text.replace("[round]", "[round]\nrounds = 3")
    monkeypatch.setattr(participant_bench, "FEDERATION", text)
    root = found_bench(tmp_path, NAMES, sealed=True)
    daemons = [Daemon(root, name) for name in NAMES]
    ada, bob, cyd = daemons
    with coordinator(root) as service, ada, bob, cyd:
        first = ada.state / "models" / "round-1.safetensors"
        wait(first.exists, root, daemons)
        bob.kill()
        bob.start()
        contract = federation(root)
        wait(lambda: contract.head().final_height == 3, root, daemons)
        final = contract.head().final_round
        copies = [d.state / "models" / f"round-{final}.safetensors" for d in daemons]
        wait(lambda: all(copy.exists() for copy in copies), root, daemons)
        for daemon, copy in zip(daemons, copies, strict=True):
            with safe_open(copy, "np") as file:
                assert file.metadata()["root"] == contract.round(final).new_model_root.hex()
            assert contract.account(daemon.status()["address"]).claimed_wei > 0
            # sealed: what it signed waited for the commitments, and nothing was signed twice
            journal = (daemon.state / "journal.jsonl").read_text().splitlines()
            assert len(journal) == len(set(journal)) >= 3
        assert contract.round(final).commitments_count == 3
        assert [d.end(timeout_s=60) for d in daemons] == [0, 0, 0]
        os.kill(service.pid, signal.SIGTERM)
        assert service.wait(60) == 0


def test_a_node_that_is_not_registered_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = participant_bench.FEDERATION.replace("tls = false", "tls = true")
    monkeypatch.setattr(participant_bench, "FEDERATION", text)
    root = found_bench(tmp_path, NAMES[:2])
    ada = Daemon(root, "ada")
    strange = generate_private_key(SECP384R1())
    (ada.folder / "node.key").write_bytes(
        strange.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    )
    with coordinator(root), ada:
        found = ada.until(lambda s: "supernode" in s["faults"], TIMEOUT_S)
        assert "the SuperLink does not know this node" in found["faults"]["supernode"]
        assert found["state"] == "ready"  # chain and bond are in order all the same
        # another authority: not a word is exchanged, and the reason is named
        assert ada.end(timeout_s=60) == 0
        (ada.folder / "ca.crt").write_bytes(make_authority("other").certificate)
        ada.start()
        found = ada.until(lambda s: "chain" in s["faults"], TIMEOUT_S)
        assert "certificate" in found["faults"]["chain"].lower()
        assert found["children"] == []
