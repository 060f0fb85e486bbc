"""What the SuperLink's log leaves out: the line at each look at the list of nodes."""

import logging

import pytest

from coordinator.flower import superlink
from coordinator.flower.internals import FLOWER_LOGGER, NODES_LISTED


def test_only_the_listing_of_nodes_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path, caplog: pytest.LogCaptureFixture
) -> None:
    flower = logging.getLogger(FLOWER_LOGGER)
    before, propagates = list(flower.filters), flower.propagate

    def run(_server: object, **_options: object) -> None:
        for said in (NODES_LISTED, "ControlServicer.StartRun", "ControlServicer.ListNodesOther"):
            flower.info(said)

    (tmp_path / "guard.json").write_text(
        '{"vector_bytes": 4, "control_secret": "s", "registered_only": false}'
    )
    monkeypatch.setattr(superlink, "run_superlink", run)
    monkeypatch.setattr("sys.argv", ["superlink", str(tmp_path / "guard.json")])
    try:
        flower.propagate = True
        with caplog.at_level(logging.INFO, FLOWER_LOGGER):
            superlink.main()
    finally:
        flower.filters, flower.propagate = before, propagates
    assert caplog.messages == ["ControlServicer.StartRun", "ControlServicer.ListNodesOther"]
