"""``kill -9`` at any instant of founding: a complete folder or none, and the same command again."""

import time
from pathlib import Path

import pytest
from fedproof_command import fedproof, kill_group, start

from coordinator.founding.folder import FederationFolder
from coordinator.founding.members import FederationMembers
from coordinator.ledger.deployment import read_deployment
from coordinator.settings.agreement import read_agreement

CONFIG = """
name = "two"

[input]
shape = [3]
classes = 2

[[participants]]
name = "ulm"
"""
MOMENTS = ("keys/coordinator.json", "tls/server.crt", "registry.json", "state/chain/chain.sqlite")


@pytest.mark.slow
def test_killed_at_any_step_the_same_command_founds(tmp_path: Path) -> None:
    config, out = tmp_path / "federation.toml", tmp_path / "two"
    config.write_text(CONFIG)
    staging = tmp_path / ".two.unfinished"
    for moment in MOMENTS:
        process = start("federation", "init", "--config", config, "--out", out)
        end = time.monotonic() + 120
        before = {staging / moment} if (staging / moment).exists() else set()
        while not (staging / moment).exists() or before:
            before = {path for path in before if path.exists()}  # what the last one left
            assert time.monotonic() < end, f"{moment} never came"
            if out.exists():
                break  # it was faster than we could look
            time.sleep(0.002)
        kill_group(process)
        assert out.exists() != staging.exists(), moment
        if out.exists():
            break
    done = fedproof("federation", "init", "--config", config, "--out", out)
    if done.returncode:  # the last one was complete before it was killed
        assert "exists already" in done.stderr, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["federation.toml", "two"]
    folder = FederationFolder(out)
    agreement, deployment = read_agreement(folder.agreement), read_deployment(folder.deployment)
    assert deployment.terms.config_digest == agreement.digest
    (ulm,) = FederationMembers(out).listing().members
    assert (ulm.name, ulm.bond_wei, ulm.node_registered) == ("ulm", 0, True)
