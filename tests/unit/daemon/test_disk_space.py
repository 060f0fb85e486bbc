"""A disk that is nearly full is named, with what is left."""

import shutil
from pathlib import Path

import pytest

from coordinator.daemon.periodic_tasks import check_room
from coordinator.protocol.errors import StoreError


def test_room_and_none(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    check_room(tmp_path, free // 2)
    with pytest.raises(StoreError, match=r"KiB of space left on its disk, expected at least"):
        check_room(tmp_path, 2 * free + 1)
    with pytest.raises(StoreError, match="No such file"):
        check_room(tmp_path / "missing")
