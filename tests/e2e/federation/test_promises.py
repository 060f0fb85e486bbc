"""What was once said holds: a signed update is not signed again, a lost history is not followed."""

import shutil
import time
from collections.abc import Iterator

import pytest
from live_federation import FULL, PATIENCE_S, Federation, live

from coordinator.protocol.commitments.documents import contributor_entries
from coordinator.protocol.types import RoundId

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]
DURATION_S = 300
LAPSE_S = 65.0
"""Flower takes a node that vanished for alive for a minute, and refuses its next life so long."""
ROUNDS_LOST = 5 if FULL else 3


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    made = live(
        tmp_path_factory.mktemp("promises"), duration_s=DURATION_S, min_contributors=2, min_online=3
    )
    with made:
        made.wait_for_rounds(1)
        yield made


def journal(federation: Federation, name: str) -> list[str]:
    path = federation.daemons[name].state / "journal.jsonl"
    return path.read_text().splitlines()


def published_update(federation: Federation, name: str, round_id: int) -> str:
    """Return the root of a participant's update in a sealed round, as published."""
    reader, store = federation.reader(), federation.reach().store
    root = reader.round(RoundId(round_id)).contributors_root
    entries = contributor_entries(store.get_document("contributors", root))
    address = federation.address(name)
    (entry,) = [one for one in entries if one.leaf.contributor == address]
    return entry.leaf.update_root.hex()


def test_a_daemon_killed_between_signing_and_uploading_signs_nothing_new(
    federation: Federation,
) -> None:
    daemon = federation.daemons["paris"]
    round_id, reply = federation.wait_for_reply("paris")
    daemon.kill()  # what it signed lies on disk; Flower has had no time to take it
    kept, line = reply.read_bytes(), journal(federation, "paris")[-1]
    federation.coordinator.kill()  # so that its next life asks everybody again
    time.sleep(LAPSE_S)
    federation.coordinator.start()
    daemon.start()
    federation.coordinator.until(lambda s: s["chain"])
    assert federation.reader().head().open_round == round_id
    reader = federation.reader()
    federation.wait_until(
        lambda: reader.round(RoundId(round_id)).sealed_at,
        f"round {round_id} is sealed",
        DURATION_S,
    )
    assert "paris" in federation.contributors(round_id)
    daemon.until(lambda s: s["repeated"] >= 1)
    assert reply.read_bytes() == kept
    lines = [one for one in journal(federation, "paris") if f"/{round_id}/" in one]
    assert lines == [line]
    assert published_update(federation, "paris", round_id) in line


def test_a_coordinator_from_an_old_copy_of_its_folder_is_refused(federation: Federation) -> None:
    service = federation.coordinator
    assert service.end() == 0
    old, newest = federation.root / "old", federation.root / "newest"
    shutil.copytree(service.state, old, symlinks=True)
    service.start()
    service.until(lambda s: s["phase"] == "collecting", PATIENCE_S)
    height = federation.height()
    federation.wait_for_rounds(height + ROUNDS_LOST, 2 * PATIENCE_S)
    seen = federation.reader().block()
    for daemon in federation.daemons.values():
        daemon.until(lambda s: s["chain_block"] >= seen.number, PATIENCE_S)
    assert service.end() == 0
    service.state.rename(newest)
    old.rename(service.state)
    service.start()
    service.until(lambda s: s["chain"])
    lost = [refusal(federation, name) for name in federation.daemons]
    assert all("was seen and is gone" in text for text in lost), lost
    head = federation.reader().block().number
    assert head < seen.number
    # with nobody left, the replaced history gets no rounds
    rounds = federation.height()
    time.sleep(10)
    assert federation.height() == rounds == height
    assert service.end() == 0
    shutil.rmtree(service.state)
    newest.rename(service.state)
    service.start()
    for daemon in federation.daemons.values():
        daemon.until(lambda s: s["state"] == "ready" and not s["faults"], PATIENCE_S)
    federation.wait_for_rounds(height + ROUNDS_LOST + 1, PATIENCE_S)
    federation.verify()


def refusal(federation: Federation, name: str) -> str:
    """Wait until a participant says why it takes no part; return its words."""
    daemon = federation.daemons[name]
    status = daemon.until(lambda s: "is gone" in s["faults"].get("history", ""), PATIENCE_S)
    assert status["state"] == "refusing"
    return str(status["faults"]["history"])
