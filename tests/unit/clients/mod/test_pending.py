"""Updates that wait for their round's commitments, in files and in Flower's context."""

import stat

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, MetricRecord, RecordDict

from clients.mod.pending import KEPT, ContextPending, FilePending, PendingUpdate, decode, encode
from coordinator.protocol.errors import StoreError
from coordinator.protocol.signatures.eip712 import address_of_key, checksum_address, sign_statement
from coordinator.protocol.types import Commitment, RoundId, SigningDomain

KEY, OTHER = bytes(range(1, 33)), address_of_key(bytes(range(2, 34)))
WHO = address_of_key(KEY)
DOMAIN = SigningDomain(1337, checksum_address(bytes(range(20))))


def update(round_id=7, value=3):
    content = RecordDict(
        {
            "arrays": ArrayRecord({"x": Array(np.full(4, value, np.int32))}),
            "metrics": MetricRecord({"loss": 0.5}),
            "fedproof": ConfigRecord({"round": round_id}),
        }
    )
    commitment = sign_statement(DOMAIN, Commitment(RoundId(round_id), b"\x09" * 32), KEY)
    return PendingUpdate(commitment, b"\x0a" * 32, b"\x0b" * 32, content)


def same(one, other):
    assert one.commitment == other.commitment
    assert (one.base_model, one.salt) == (other.base_model, other.salt)
    assert (
        one.content["arrays"]["x"].numpy().tolist() == other.content["arrays"]["x"].numpy().tolist()
    )
    for name in ("metrics", "fedproof"):
        assert dict(one.content[name]) == dict(other.content[name])


@pytest.fixture(params=["file", "context"])
def store(request, tmp_path):
    if request.param == "file":
        return FilePending(tmp_path / "pending")
    return ContextPending(Context(1, 2, {}, RecordDict(), {}))


def test_what_is_put_comes_back_until_another_round_takes_its_place(store):
    assert store.get(DOMAIN, RoundId(7), WHO) is None
    store.put(DOMAIN, update())
    same(store.get(DOMAIN, RoundId(7), WHO), update())
    store.put(DOMAIN, update(value=5))
    same(store.get(DOMAIN, RoundId(7), WHO), update(value=5))
    store.put(DOMAIN, update(7 + KEPT))
    assert store.get(DOMAIN, RoundId(7), WHO) is None
    same(store.get(DOMAIN, RoundId(7 + KEPT), WHO), update(7 + KEPT))


def test_nobody_elses_update_is_found(store):
    store.put(DOMAIN, update())
    assert store.get(DOMAIN, RoundId(7), OTHER) is None
    assert store.get(DOMAIN, RoundId(8), WHO) is None
    elsewhere = SigningDomain(1, DOMAIN.verifying_contract)
    assert store.get(elsewhere, RoundId(7), WHO) is None


def test_files_are_private_and_no_more_than_a_few(tmp_path):
    store = FilePending(tmp_path / "pending")
    for number in range(1, 4 * KEPT):
        store.put(DOMAIN, update(number))
    files = list((tmp_path / "pending").iterdir())
    assert len(files) == KEPT
    assert stat.S_IMODE((tmp_path / "pending").stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_changed_byte_is_an_error_and_never_revealed(tmp_path):
    store = FilePending(tmp_path)
    store.put(DOMAIN, update())
    (file,) = tmp_path.iterdir()
    good = file.read_bytes()
    for bad in (good[:-1], good[:100], b"", bytes([good[0] ^ 1]) + good[1:], good + b"x"):
        file.write_bytes(bad)
        with pytest.raises(StoreError, match="damaged"):
            store.get(DOMAIN, RoundId(7), WHO)
    same(decode(encode(update()), "here"), update())


def test_a_disk_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="nothing is committed to"):
        FilePending(tmp_path / "file").put(DOMAIN, update())
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
