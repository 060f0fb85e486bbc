from dataclasses import replace

import pytest

from coordinator.protocol.commitments.digests import commitments_tree
from coordinator.protocol.commitments.documents import (
    commitment_leaves,
    commitments_document,
    name_of,
    read_commitments,
)
from coordinator.protocol.errors import ContributorError, VerificationError
from coordinator.protocol.numbers.manifest import Manifest, TensorSpec
from coordinator.protocol.round.screening import RoundContext, check_opening, screen_commitment
from coordinator.protocol.rules.base import Weighting
from coordinator.protocol.signatures.eip712 import (
    address_of_key,
    checksum_address,
    sealed_commitment,
    sign_statement,
)
from coordinator.protocol.types import (
    Commitment,
    CommitmentLeaf,
    RoundId,
    Rule,
    SigningDomain,
    UpdateMessage,
    Wei,
)

KEY, OTHER_KEY = bytes(range(1, 33)), bytes(range(2, 34))
ALICE, BOB = address_of_key(KEY), address_of_key(OTHER_KEY)
DOMAIN = SigningDomain(1337, checksum_address(bytes(range(20))))
MANIFEST = Manifest((TensorSpec("w", (3,), "float32"),))
ROUND = RoundId(7)
SALT, UPDATE = b"\x01" * 32, b"\x02" * 32
CONTEXT = RoundContext(
    round_id=ROUND,
    base_model_root=b"\x03" * 32,
    manifest=MANIFEST,
    domain=DOMAIN,
    rule=Rule(1, 1, Weighting.UNIFORM, 0, 1, 65536, 0, b"", 3, 256, 20, 1, 0, b""),
    stakes={ALICE: Wei(1)},
)
COMMITMENT = sealed_commitment(DOMAIN, ROUND, ALICE, SALT, UPDATE)
SIGNED = sign_statement(DOMAIN, Commitment(ROUND, COMMITMENT), KEY)


def update_of(key, update=UPDATE):
    return sign_statement(DOMAIN, UpdateMessage(ROUND, b"\x03" * 32, update, 1, b"\x04" * 32), key)


def code_of(check, *arguments):
    with pytest.raises(ContributorError) as refused:
        check(*arguments)
    return refused.value.code, refused.value.contributor


def test_a_commitment_is_new_once_and_then_a_repeat():
    assert screen_commitment(SIGNED, CONTEXT, {}) == "new"
    assert screen_commitment(SIGNED, CONTEXT, {BOB: b"\x09" * 32}) == "new"
    assert screen_commitment(SIGNED, CONTEXT, {ALICE: COMMITMENT}) == "duplicate"


@pytest.mark.parametrize(
    ("signed", "known", "code", "blamed"),
    [
        (SIGNED, {ALICE: b"\x09" * 32}, "conflicting-commitment", ALICE),
        (replace(SIGNED, signer=BOB), {}, "not-bonded", None),
        (replace(SIGNED, signature=SIGNED.signature[:64]), {}, "bad-signature-length", None),
        (replace(SIGNED, statement=Commitment(RoundId(8), COMMITMENT)), {}, "wrong-round", None),
        (replace(SIGNED, statement=Commitment(ROUND, b"\x09" * 32)), {}, "wrong-signer", None),
        (replace(SIGNED, statement=Commitment(ROUND, b"\x09")), {}, "malformed-message", None),
        (replace(SIGNED, statement=Commitment("7", COMMITMENT)), {}, "malformed-message", None),
        (replace(SIGNED, signature="00" * 65), {}, "malformed-message", None),
    ],
)
def test_a_bad_commitment_is_refused_and_blamed_only_on_its_signer(signed, known, code, blamed):
    assert code_of(screen_commitment, signed, CONTEXT, known) == (code, blamed)


def test_an_update_opens_its_own_commitment_only():
    committed = {ALICE: COMMITMENT, BOB: COMMITMENT}
    check_opening(update_of(KEY), SALT, DOMAIN, committed)
    for signed, salt in (
        (update_of(KEY), b"\x05" * 32),
        (update_of(KEY), b"\x01" * 31),
        (update_of(KEY), None),
        (update_of(KEY, b"\x06" * 32), SALT),
        (update_of(OTHER_KEY), SALT),  # Bob took Alice's commitment, update and salt
    ):
        code = "commitment-mismatch"
        assert code_of(check_opening, signed, salt, DOMAIN, committed) == (code, signed.signer)
    assert code_of(check_opening, update_of(KEY), SALT, DOMAIN, {BOB: COMMITMENT}) == (
        "not-committed",
        ALICE,
    )
    elsewhere = SigningDomain(1, DOMAIN.verifying_contract)
    assert code_of(check_opening, update_of(KEY), SALT, elsewhere, committed)[0] == (
        "commitment-mismatch"
    )


def test_the_document_is_in_order_of_address_and_read_back_against_its_root():
    committed = {ALICE: b"\x0a" * 32, BOB: b"\x0b" * 32}
    document = commitments_document(ROUND, committed)
    backwards = commitments_document(ROUND, dict(reversed(committed.items())))
    assert document == backwards
    leaves = commitment_leaves(document)
    assert {leaf.contributor: leaf.commitment for leaf in leaves} == committed
    root = commitments_tree(leaves).root
    assert name_of("commitments", document) == root
    assert read_commitments(document, ROUND, root) == committed


def test_a_document_that_is_not_the_rounds_is_refused():
    document = commitments_document(ROUND, {ALICE: b"\x0a" * 32, BOB: b"\x0b" * 32})
    root = name_of("commitments", document)
    rows = document["commitments"]
    for changed, complaint in (
        ({**document, "round": 8}, "of round 8"),
        ({**document, "commitments": rows[::-1]}, "ascending order"),
        ({**document, "commitments": [rows[0], rows[0]]}, "appears twice"),
        ({**document, "commitments": []}, "no leaves"),
        ({**document, "commitments": rows[:1]}, "the chain holds"),
        ({"round": 7}, "malformed"),
        ({**document, "commitments": [["0x", "zz"]]}, "malformed"),
        ([], "malformed"),
    ):
        with pytest.raises(VerificationError, match=complaint):
            read_commitments(changed, ROUND, root)
    with pytest.raises(VerificationError, match="the chain holds 0000"):
        read_commitments(document, ROUND, bytes(32))


def test_leaves_are_of_one_round_and_hold_32_bytes():
    leaf = CommitmentLeaf(ROUND, ALICE, b"\x0a" * 32)
    low, high = sorted((ALICE, BOB), key=str.lower)
    with pytest.raises(VerificationError, match="of round 8"):
        commitments_tree(
            [replace(leaf, contributor=low), CommitmentLeaf(RoundId(8), high, b"\x0b" * 32)]
        )
    with pytest.raises(VerificationError, match="expected 32"):
        commitments_tree([replace(leaf, commitment=b"")])
