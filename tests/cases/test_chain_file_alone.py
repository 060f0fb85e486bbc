"""A chain's file that was copied without the log beside it, while a node had it open."""

import shutil
from pathlib import Path

import pytest
from federation_world import ETHER, EVERYONE

from contracts.node.genesis import GenesisConfig
from contracts.node.node import EmbeddedNode
from contracts.node.replica import replay
from coordinator.protocol.errors import StoreError

GENESIS = GenesisConfig(alloc={account.address: 100 * ETHER for account in EVERYONE})


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The main file of an open chain, alone in a folder."""
    (tmp_path / "copy").mkdir()
    node = EmbeddedNode.create_or_open(tmp_path / "chain.sqlite", GENESIS)
    node.mine([])
    shutil.copy(tmp_path / "chain.sqlite", tmp_path / "copy" / "chain.sqlite")
    node.close()
    return tmp_path / "copy" / "chain.sqlite"


def test_replaying_it_is_refused(copied: Path) -> None:
    with pytest.raises(StoreError, match="not a Fedproof chain"):
        replay(copied, GENESIS)


@pytest.mark.xfail(
    strict=True, raises=pytest.fail.Exception, reason="an empty database is begun anew"
)
def test_it_is_not_begun_anew(copied: Path) -> None:
    with pytest.raises(StoreError, match="not a Fedproof chain"):
        EmbeddedNode.create_or_open(copied, GENESIS).close()
