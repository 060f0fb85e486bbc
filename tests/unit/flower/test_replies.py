"""What becomes of an error reply's own text: a code once, and no word twice."""

from collections.abc import Iterator

import numpy as np
import pytest

import coordinator.flower.environment  # noqa: F401

# isort: split
from flwr.app import ConfigRecord, Error, Message, RecordDict
from participant_bench import message

from clients.mod.instruction import InstructionRefusedError
from coordinator.flower.records import read_commitment, read_statement, read_submission
from coordinator.flower.replies import Recipients, check_reply
from coordinator.protocol import wire
from coordinator.protocol.errors import ContributorError

MALFORMED = "reply: wrong-records: found arrays [], expected one array record"


@pytest.mark.parametrize(
    ("reason", "code", "text"),
    [
        (f"fedproof/wrong-records: {MALFORMED}", "wrong-records", MALFORMED),
        (
            "fedproof/round-not-open: round 3 is sealed on chain, expected open",
            "round-not-open",
            "reply: round-not-open: round 3 is sealed on chain, expected open",
        ),
        (
            "fedproof/wrong-size: model: wrong-size: found 8 bytes, expected 12 bytes",
            "wrong-size",
            "reply: wrong-size: model: found 8 bytes, expected 12 bytes",
        ),
        ("client-timeout: after 5 s", "client-timeout", "reply: client-timeout: after 5 s"),
        ("no\x1bdata", "client-error", "reply: client-error: no data"),
    ],
)
def test_a_refusal_says_its_code_once(reason: str, code: str, text: str) -> None:
    asked = message(RecordDict(), "train")
    recipients = Recipients.of([asked], "train")
    with pytest.raises(ContributorError) as refused:
        check_reply(Message(Error(2, reason), reply_to=asked), recipients)
    assert (refused.value.code, str(refused.value)) == (code, text)


def _refused_by_a_client(error: Exception, code: str) -> str:
    asked = message(RecordDict(), "train")
    reply = Message(Error(6, f"{wire.CLIENT_REFUSAL_PREFIX}{code}: {error}"), reply_to=asked)
    with pytest.raises(ContributorError) as refused:
        check_reply(reply, Recipients.of([asked], "train"))
    return str(refused.value)


def _real_refusals() -> Iterator[str]:
    """Yield the texts of refusals as the functions that refuse raise them, client's and ours."""
    array = wire.encode_npy(np.zeros(2, np.int32))
    for data, dtype, shape in (
        (array, "int32", (3,)),
        (array, "float32", (2,)),
        (array[:-1], "int32", (2,)),
        (b"no array", "int32", (2,)),
    ):
        with pytest.raises(ContributorError) as malformed:
            wire.decode_npy(data, dtype=dtype, shape=shape, place="reply: tensor 'w'")
        yield str(malformed.value)
        yield _refused_by_a_client(malformed.value, malformed.value.code)
    for metrics in ({}, {"num-examples": -1}):
        with pytest.raises(ContributorError) as malformed:
            wire.check_examples(metrics)
        yield _refused_by_a_client(malformed.value, malformed.value.code)
    for content in (RecordDict(), RecordDict({"fedproof": ConfigRecord({"version": 9})})):
        for read in (read_statement, read_commitment, lambda records: read_submission(records, 2)):
            with pytest.raises(ContributorError) as malformed:
                read(content)
            yield str(malformed.value)
    for text in ("round 3 is sealed on chain, expected open", "reply: too-large: 9 bytes"):
        for code in ("round-not-open", "too-large"):
            error = InstructionRefusedError(code, text.removeprefix(f"reply: {code}: "))
            yield _refused_by_a_client(error, code)


def test_no_refusal_repeats_a_prefix() -> None:
    texts = list(_real_refusals())
    assert len(texts) > 15
    for text in texts:
        parts = text.split(": ")
        assert len(set(parts)) == len(parts), text
