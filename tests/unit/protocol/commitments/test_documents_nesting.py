import pytest

from coordinator.protocol.commitments.documents import decode
from coordinator.protocol.errors import BlobCorruptError


def test_a_document_nested_too_deep_is_corrupt_and_does_not_end_the_process():
    """With py-evm loaded, the standard parser would overflow the C stack here."""
    with pytest.raises(BlobCorruptError, match="JSON nested 100000 deep"):
        decode("json", bytes(32), b"[" * 100_000, "blob 00")
