"""A participant on another node's chain, whose newest block is replaced or not yet everywhere."""

import hashlib
import tomllib
from pathlib import Path

import pytest

from clients.daemon.history import BlockHistory, HistoryLostError
from coordinator.founding.templates import Reach, participant_toml
from coordinator.settings.participant import CONFIRMATIONS, CoordinatorReach

SEEN = 100
STORE = "https://coordinator.example:8700"
ANOTHER_NODE = "https://node.example"


def block_hash(number: int, branch: str = "") -> bytes:
    return hashlib.sha256(f"{number}{branch}".encode()).digest()


def reach(rpc: str, confirmations: int | None = None) -> CoordinatorReach:
    return CoordinatorReach(
        rpc=rpc,
        store=STORE,
        superlink="coordinator.example:9092",
        confirmations=confirmations,
    )


@pytest.fixture
def history(tmp_path: Path) -> BlockHistory:
    """What a participant of another node's chain remembers by default."""
    made = BlockHistory(tmp_path / "blocks.jsonl", confirmations=reach(ANOTHER_NODE).depth)
    made.check(SEEN, block_hash)
    return made


def test_a_backend_that_is_one_block_behind_is_no_lost_history(history: BlockHistory) -> None:
    behind = SEEN - 1
    history.check(behind, lambda number: block_hash(number) if number <= behind else None)


def test_one_replaced_block_is_no_lost_history(history: BlockHistory) -> None:
    history.check(SEEN + 2, lambda number: block_hash(number, "other" if number >= SEEN else ""))


def test_what_is_deep_is_remembered_and_missed(history: BlockHistory) -> None:
    remembered = SEEN - CONFIRMATIONS
    with pytest.raises(HistoryLostError, match=f"block {remembered} .* is there now"):
        history.check(
            SEEN + 2, lambda number: block_hash(number, "other" if number >= remembered else "")
        )


@pytest.mark.parametrize(
    ("rpc", "given", "depth"),
    [
        (f"{STORE}/rpc", None, 0),
        ("https://COORDINATOR.example:8700/rpc", None, 0),
        (ANOTHER_NODE, None, CONFIRMATIONS),
        ("https://coordinator.example:8545", None, CONFIRMATIONS),
        (ANOTHER_NODE, 0, 0),
        (f"{STORE}/rpc", 3, 3),
    ],
)
def test_only_the_coordinators_own_chain_needs_none(
    rpc: str, given: int | None, depth: int
) -> None:
    assert reach(rpc, given).depth == depth


@pytest.mark.parametrize(("rpc", "written"), [("", None), (ANOTHER_NODE, CONFIRMATIONS)])
def test_founding_writes_them_for_another_nodes_chain(rpc: str, written: int | None) -> None:
    found = Reach.of("0.0.0.0", ["coordinator.example"], (8700, 9092), tls=True, rpc=rpc)
    text = participant_toml("paris", found, "", own_account=False).decode()
    assert tomllib.loads(text)["coordinator"].get("confirmations") == written
