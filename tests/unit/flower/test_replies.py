"""What becomes of an error reply's own text: a code once, and no word twice."""

import pytest

import coordinator.flower.environment  # noqa: F401

# isort: split
from flwr.app import Error, Message, RecordDict
from participant_bench import message

from coordinator.flower.replies import Recipients, check_reply
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
