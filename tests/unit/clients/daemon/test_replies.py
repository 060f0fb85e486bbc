"""Replies on disk: the same bytes again, or an error; never something else."""

import pytest

from clients.daemon.replies import ReplyStore, StoredReply
from coordinator.local.files import write_durably
from coordinator.protocol.errors import StoreError
from coordinator.protocol.types import RoundId

BASE, OTHER = b"\1" * 32, b"\2" * 32


def reply(value: bytes = b"update") -> StoredReply:
    return StoredReply({"arrays": [["a", []]], "n": 1}, [b"plain", memoryview(value)])


def same(one: StoredReply, other: StoredReply) -> bool:
    parts = [[bytes(part) for part in r.attachments] for r in (one, other)]
    return one.header == other.header and parts[0] == parts[1]


def test_what_was_put_is_found_across_restarts_and_private(tmp_path):
    store = ReplyStore(tmp_path / "replies")
    assert store.find(RoundId(1), BASE) is None
    store.put(RoundId(1), BASE, reply())
    assert same(store.find(RoundId(1), BASE), reply())
    assert same(ReplyStore(tmp_path / "replies").find(RoundId(1), BASE), reply())
    assert store.find(RoundId(1), OTHER) is None
    assert store.find(RoundId(2), BASE) is None
    (path,) = (tmp_path / "replies").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_only_the_last_rounds_are_kept(tmp_path):
    store = ReplyStore(tmp_path, kept=2)
    for round_id in (1, 2, 12):
        store.put(RoundId(round_id), BASE, reply())
    assert store.rounds() == [2, 12]
    assert store.find(RoundId(1), BASE) is None
    assert same(store.find(RoundId(12), BASE), reply())


def test_a_reply_half_written_is_no_reply_and_goes(tmp_path):
    store = ReplyStore(tmp_path)
    store.put(RoundId(1), BASE, reply())
    (path,) = tmp_path.iterdir()
    (tmp_path / f".tmp-{path.name}").write_bytes(path.read_bytes()[:9])
    path.unlink()
    again = ReplyStore(tmp_path)
    assert again.find(RoundId(1), BASE) is None
    assert not list(tmp_path.iterdir())


def test_every_changed_byte_is_an_error(tmp_path):
    store = ReplyStore(tmp_path)
    store.put(RoundId(1), BASE, reply())
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(StoreError, match="damaged"):
            store.find(RoundId(1), BASE)
    for size in (0, 3, 40, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(StoreError, match="damaged"):
            store.find(RoundId(1), BASE)


def test_a_full_disk_leaves_the_earlier_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_durably(path, [b"one"])

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("coordinator.local.files.os.fsync", full)
    with pytest.raises(StoreError, match=r"^cannot write \S+/file: No space left on device$"):
        write_durably(path, [b"two"])
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"one")]
    with pytest.raises(StoreError, match="cannot write"):
        ReplyStore(tmp_path).put(RoundId(1), BASE, reply())
    assert ReplyStore(tmp_path).find(RoundId(1), BASE) is None
