"""Flower's telemetry is off before Flower is imported, unless the operator says otherwise."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from coordinator.protocol import wire

ROOT = Path(__file__).parents[3]
ASK = "import flwr.supercore.telemetry as t; print(t.FLWR_TELEMETRY_ENABLED)"


@pytest.mark.parametrize(
    ("first", "given", "expected"),
    [
        ("import coordinator.flower.environment", None, "0"),
        ("import clients", None, "0"),
        ("import clients.mod.verifiable_updates", None, "0"),
        ("import coordinator.flower", None, "0"),
        ("import flwr.supercore.telemetry, coordinator.flower.environment", None, "0"),
        ("import coordinator.flower.environment", "1", "1"),
    ],
)
def test_telemetry(first: str, given: str | None, expected: str):
    env = {k: v for k, v in os.environ.items() if not k.startswith("FLWR_")}
    env["PYTHONPATH"] = str(ROOT)
    if given is not None:
        env["FLWR_TELEMETRY_ENABLED"] = given
    done = subprocess.run(
        [sys.executable, "-c", f"{first}; {ASK}"],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.split()[-1] == expected


def test_the_document_names_every_key_of_the_wire_format():
    text = (ROOT / "docs" / "flower.md").read_text()
    keys = [value for value in vars(wire).values() if str(value).startswith("fedproof.")]
    assert len(keys) >= 11
    for key in [*keys, *wire.STATEMENT_FIELDS]:
        assert f"`{key}`" in text, key
