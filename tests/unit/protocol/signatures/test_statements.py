from dataclasses import replace

import pytest
from eth_account import Account

from coordinator.protocol.errors import SignatureError, VerificationError
from coordinator.protocol.signatures.eip712 import (
    CURVE_ORDER,
    address_of_key,
    checksum_address,
    recover_signer,
    sign_statement,
    statement_digest,
    verify_statement,
)
from coordinator.protocol.signatures.statements import MAX_STATEMENT_S, check_presence, check_read
from coordinator.protocol.types import Commitment, Presence, ReadRequest, RoundId, SigningDomain

KEY = bytes(range(1, 33))
SOMEBODY = checksum_address(b"\x07" * 20)
DOMAIN = SigningDomain(1337, checksum_address(bytes(range(20))))
NOW = 1_700_000_000
NODE = 2**64 - 5
STATEMENTS = {
    "Presence": (
        Presence(NODE, NOW + 60),
        [("nodeId", "uint64", NODE), ("expiry", "uint64", NOW + 60)],
    ),
    "Commitment": (
        Commitment(RoundId(7), b"\x09" * 32),
        [("round", "uint64", 7), ("commitment", "bytes32", b"\x09" * 32)],
    ),
    "Read": (
        ReadRequest(b"\x0a" * 32, NOW + 60),
        [("blob", "bytes32", b"\x0a" * 32), ("expiry", "uint64", NOW + 60)],
    ),
}


def by_eth_account(kind, fields):
    domain_fields = [
        ("name", "string"),
        ("version", "string"),
        ("chainId", "uint256"),
        ("verifyingContract", "address"),
    ]
    data = {
        "types": {
            "EIP712Domain": [{"name": n, "type": t} for n, t in domain_fields],
            kind: [{"name": n, "type": t} for n, t, _ in fields],
        },
        "primaryType": kind,
        "domain": {
            "name": "Fedproof",
            "version": "1",
            "chainId": DOMAIN.chain_id,
            "verifyingContract": DOMAIN.verifying_contract,
        },
        "message": {n: v for n, _, v in fields},
    }
    return Account.sign_typed_data(KEY, full_message=data)


@pytest.mark.parametrize("kind", sorted(STATEMENTS))
def test_the_signature_is_that_of_a_wallet(kind):
    statement, fields = STATEMENTS[kind]
    theirs = by_eth_account(kind, fields)
    ours = sign_statement(DOMAIN, statement, KEY)
    assert ours.signature == theirs.signature
    assert statement_digest(DOMAIN, statement) == theirs.message_hash
    assert recover_signer(DOMAIN, ours) == ours.signer == address_of_key(KEY)
    verify_statement(DOMAIN, ours)


def test_equal_fields_of_another_type_are_another_statement():
    """A presence cannot be passed off as a read request, nor either as a commitment."""
    signed = sign_statement(DOMAIN, Commitment(RoundId(7), b"\x09" * 32), KEY)
    other = replace(signed, statement=ReadRequest(b"\x09" * 32, 7))
    with pytest.raises(SignatureError) as caught:
        verify_statement(DOMAIN, other)
    assert caught.value.code == "wrong-signer"


def forgeries():
    signed = sign_statement(DOMAIN, Presence(NODE, NOW + 60), KEY)
    good = signed.signature
    high = CURVE_ORDER - int.from_bytes(good[32:64], "big")
    yield (
        "high-s",
        replace(signed, signature=good[:32] + high.to_bytes(32, "big") + bytes([55 - good[64]])),
    )
    yield "bad-signature-v", replace(signed, signature=good[:64] + b"\x00")
    yield "bad-signature-length", replace(signed, signature=good[:64])
    yield "unrecoverable", replace(signed, signature=bytes(64) + good[64:])
    yield "wrong-signer", replace(signed, signer=SOMEBODY)
    yield "wrong-node", replace(signed, statement=Presence(NODE - 1, NOW + 60))
    yield "expired", replace(signed, statement=Presence(NODE, NOW))
    yield (
        "expires-too-late",
        sign_statement(DOMAIN, Presence(NODE, NOW + MAX_STATEMENT_S + 1), KEY),
    )


@pytest.mark.parametrize(("code", "signed"), list(forgeries()))
def test_what_is_no_presence_is_refused(code, signed):
    with pytest.raises(SignatureError) as caught:
        check_presence(signed, domain=DOMAIN, node_id=NODE, now=NOW)
    assert caught.value.code == code


def test_a_presence_names_the_account_until_it_expires():
    signed = sign_statement(DOMAIN, Presence(NODE, NOW + 60), KEY)
    check = lambda now: check_presence(signed, domain=DOMAIN, node_id=NODE, now=now)  # noqa: E731
    assert check(NOW) == check(NOW + 59) == address_of_key(KEY)
    with pytest.raises(SignatureError, match="expected a time after"):
        check(NOW + 60)


def test_a_presence_is_good_for_one_contract():
    other = SigningDomain(DOMAIN.chain_id + 1, DOMAIN.verifying_contract)
    signed = sign_statement(other, Presence(NODE, NOW + 60), KEY)
    with pytest.raises(SignatureError) as caught:
        check_presence(signed, domain=DOMAIN, node_id=NODE, now=NOW)
    assert caught.value.code == "wrong-signer"


def test_a_read_request_is_for_one_blob_until_it_expires():
    blob = b"\x0a" * 32
    signed = sign_statement(DOMAIN, ReadRequest(blob, NOW + 60), KEY)
    assert check_read(signed, domain=DOMAIN, blob=blob, now=NOW) == address_of_key(KEY)
    for asked, now, code in (
        (b"\x0b" * 32, NOW, "wrong-blob"),
        (blob, NOW + 60, "expired"),
        (blob, NOW - MAX_STATEMENT_S, "expires-too-late"),
    ):
        with pytest.raises(SignatureError) as caught:
            check_read(signed, domain=DOMAIN, blob=asked, now=now)
        assert caught.value.code == code


@pytest.mark.parametrize(
    "statement",
    [Presence(2**64, NOW), Presence(1, -1), Commitment(RoundId(1), b"\x00"), ReadRequest(b"", NOW)],
)
def test_a_field_that_does_not_fit_cannot_be_signed(statement):
    with pytest.raises(VerificationError):
        sign_statement(DOMAIN, statement, KEY)
