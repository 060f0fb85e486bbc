from dataclasses import replace

import numpy as np
import pytest

from coordinator.protocol.commitments.digests import metrics_hash
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.equivocation import EquivocationError
from coordinator.protocol.errors import ContributorError, MalformedUpdateError, SignatureError
from coordinator.protocol.numbers.manifest import Manifest
from coordinator.protocol.numbers.norms import squared_norm
from coordinator.protocol.round.screening import RoundContext, screen_envelope, screen_vector
from coordinator.protocol.signatures.eip712 import address_of_key, checksum_address, sign_statement
from coordinator.protocol.types import Rule, SigningDomain, UpdateLimits, UpdateMessage

KEY, OTHER_KEY = bytes(range(1, 33)), bytes(range(2, 34))
SENDER = address_of_key(KEY)
MANIFEST = Manifest.of({"w": np.zeros(6, np.float32)}, chunk_values=4)
DOMAIN = SigningDomain(1337, checksum_address(bytes(range(20))))
VECTOR = np.array([3, -4, 0, 0, 12, 0], np.int32)  # length 13
METRICS = {"loss": 0.25}
BASE = b"\x01" * 32
RULE = Rule(1, 1, 1, 0, 100, 65536, 0, MANIFEST.digest(), 6, 4, 20, 1, 13, bytes(32))
CONTEXT = RoundContext(
    7, BASE, MANIFEST, DOMAIN, RULE, {SENDER: 50}, UpdateLimits(min_stake_wei=50)
)
MESSAGE = UpdateMessage(7, BASE, parameter_root(VECTOR, MANIFEST), 10, metrics_hash(METRICS))


def signed(key=KEY, domain=DOMAIN, **change):
    return sign_statement(domain, replace(MESSAGE, **change), key)


def screen(statement, declared=24, context=CONTEXT, accepted=None, **options):
    return screen_envelope(statement, declared, context, accepted or {}, **options)


def refusal(call):
    with pytest.raises(ContributorError) as caught:
        call()
    return caught.value


def test_a_sound_update_passes_both_steps():
    statement = signed()
    assert screen(statement, metrics=METRICS, shape=(6,)) == "new"
    screen_vector(VECTOR, statement, CONTEXT)


def test_an_equal_repeat_is_harmless():
    first = signed()
    assert screen(signed(), accepted={SENDER: first}) == "duplicate"


def test_another_update_is_equivocation_with_both_statements_as_evidence():
    first, second = signed(), signed(update=b"\x09" * 32)
    error = refusal(lambda: screen(second, accepted={SENDER: first}))
    assert isinstance(error, EquivocationError)
    assert error.evidence == (first, second)
    assert (error.code, error.contributor, error.round_id) == ("equivocation", SENDER, 7)
    assert (error.expected, error.found) == (first.statement.update.hex(), "09" * 32)


@pytest.mark.parametrize(
    "change", [{"examples": 11}, {"base_model": bytes(32)}, {"metrics_hash": bytes(32)}]
)
def test_another_statement_about_the_same_update_is_refused_but_no_evidence(change):
    error = refusal(lambda: screen(signed(**change), accepted={SENDER: signed()}))
    assert error.code == "conflicting-repeat"
    assert not isinstance(error, EquivocationError)


def test_a_forged_second_update_is_no_equivocation():
    forged = replace(signed(OTHER_KEY, update=b"\x09" * 32), signer=SENDER)
    error = refusal(lambda: screen(forged, accepted={SENDER: signed()}))
    assert isinstance(error, SignatureError)
    assert error.code == "wrong-signer"


def test_examples_at_the_limits_pass():
    limited = replace(CONTEXT, limits=UpdateLimits(min_examples=5, max_examples=10))
    assert screen(signed(examples=5), context=limited) == "new"
    assert screen(signed(examples=10), context=limited) == "new"
    for examples in (4, 11):
        error = refusal(lambda n=examples: screen(signed(examples=n), context=limited))
        assert (error.code, error.found) == ("examples-out-of-range", str(examples))
        assert error.expected == "5 to 10"


ABROAD = replace(DOMAIN, chain_id=1)


@pytest.mark.parametrize(
    ("call", "code", "attributed"),
    [
        (lambda: screen(signed(), declared=2**33), "too-large", False),
        (lambda: screen(signed(), declared=23), "wrong-size", False),
        (lambda: screen(signed(), dtype="float32"), "wrong-dtype", False),
        (lambda: screen(signed(), dtype="float64", declared=2**33), "wrong-dtype", False),
        (lambda: screen(signed(), shape=(3, 2)), "wrong-shape", False),
        (lambda: screen(signed(round_id=6)), "wrong-round", False),
        (lambda: screen(signed(round_id=8)), "wrong-round", False),
        (lambda: screen(signed(OTHER_KEY)), "not-bonded", False),
        (
            lambda: screen(signed(), context=replace(CONTEXT, stakes={SENDER: 49})),
            "not-bonded",
            False,
        ),
        (lambda: screen(signed(domain=ABROAD)), "wrong-signer", False),
        (lambda: screen(replace(signed(), signature=bytes(65))), "bad-signature-v", False),
        (lambda: screen(replace(signed(), signature=b"")), "bad-signature-length", False),
        (lambda: screen(signed(base_model=bytes(32))), "wrong-base-model", True),
        (lambda: screen(signed(examples=0)), "examples-out-of-range", True),
        (lambda: screen(signed(examples=2**48)), "examples-out-of-range", True),
        (lambda: screen(signed(), metrics={"loss": 0.5}), "wrong-metrics", True),
        (lambda: screen(signed(), metrics={"loss": float("nan")}), "bad-metrics", False),
    ],
)
def test_every_refusal_has_its_code_and_blames_nobody_unproven(call, code, attributed):
    error = refusal(call)
    assert error.code == code
    assert error.contributor == (SENDER if attributed else None)


@pytest.mark.parametrize(
    "change",
    [
        {"round_id": -1},
        {"round_id": 2**64},
        {"round_id": "7"},
        {"round_id": True},
        {"examples": 1.5},
        {"base_model": b""},
        {"update": "00" * 32},
        {"metrics_hash": bytearray(32)},
    ],
)
def test_messages_of_the_wrong_form_are_refused(change):
    statement = replace(signed(), statement=replace(MESSAGE, **change))
    assert refusal(lambda: screen(statement)).code == "malformed-message"


def test_a_signature_that_is_no_bytes_is_refused():
    error = refusal(lambda: screen(replace(signed(), signature="00" * 65)))
    assert error.code == "malformed-message"


@pytest.mark.parametrize(
    ("vector", "code"),
    [
        (VECTOR.astype(np.int64), "wrong-dtype"),
        (VECTOR.astype(">i4"), "wrong-dtype"),
        (VECTOR.astype(np.float32), "wrong-dtype"),
        (VECTOR[:5], "wrong-shape"),
        (VECTOR.reshape(2, 3), "wrong-shape"),
        (np.repeat(VECTOR, 2)[::2], "wrong-shape"),
        (np.zeros(1, np.int32), "wrong-shape"),
        (VECTOR + np.array([0, 0, 1, 0, 0, 0], np.int32), "norm-too-large"),
        (VECTOR - np.array([1, 0, 0, 0, 0, 0], np.int32), "wrong-root"),
        (VECTOR[::-1].copy(), "wrong-root"),
    ],
)
def test_vectors_that_are_not_what_was_signed_are_refused(vector, code):
    error = refusal(lambda: screen_vector(vector, signed(), CONTEXT))
    assert isinstance(error, MalformedUpdateError)
    assert (error.code, error.contributor, error.round_id) == (code, SENDER, 7)


def test_the_norm_bound_is_inclusive_and_zero_means_none():
    tight = replace(CONTEXT, rule=replace(RULE, norm_bound_q=12))
    error = refusal(lambda: screen_vector(VECTOR, signed(), tight))
    assert (error.code, error.found, error.expected) == ("norm-too-large", "169", "<= 12^2")
    unbounded = replace(CONTEXT, rule=replace(RULE, norm_bound_q=0))
    huge = np.full(6, -(2**31), np.int32)
    statement = signed(update=parameter_root(huge, MANIFEST))
    screen_vector(huge, statement, unbounded)
    assert refusal(lambda: screen_vector(huge, statement, CONTEXT)).found == str(6 * 2**62)


def test_squared_norm_does_not_overflow():
    assert squared_norm(np.full(1000, -(2**31), np.int32)) == 1000 * 2**62
    assert squared_norm(np.full(1000, 2**31 - 1, np.int32)) == 1000 * (2**31 - 1) ** 2
    assert squared_norm(np.zeros(0, np.int32)) == 0
