from dataclasses import replace

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils import to_checksum_address

from coordinator.protocol.errors import SignatureError, VerificationError
from coordinator.protocol.signatures.eip712 import (
    CURVE_ORDER,
    address_of_key,
    checksum_address,
    domain_separator,
    recover_signer,
    sign_statement,
    statement_digest,
    verify_statement,
)
from coordinator.protocol.types import SigningDomain, UpdateMessage

KEY = bytes(range(1, 33))
DOMAIN = SigningDomain(1337, checksum_address(bytes(range(20))))
MESSAGE = UpdateMessage(7, b"\x01" * 32, b"\x02" * 32, 123, b"\x03" * 32)


def typed_data(domain, message):
    """The same statement in the JSON form that wallets show and sign."""
    fields = [
        ("round", "uint64"),
        ("baseModel", "bytes32"),
        ("update", "bytes32"),
        ("examples", "uint64"),
        ("metricsHash", "bytes32"),
    ]
    domain_fields = [
        ("name", "string"),
        ("version", "string"),
        ("chainId", "uint256"),
        ("verifyingContract", "address"),
    ]
    return {
        "types": {
            "EIP712Domain": [{"name": n, "type": t} for n, t in domain_fields],
            "Update": [{"name": n, "type": t} for n, t in fields],
        },
        "primaryType": "Update",
        "domain": {
            "name": "Fedproof",
            "version": "1",
            "chainId": domain.chain_id,
            "verifyingContract": domain.verifying_contract,
        },
        "message": {
            "round": message.round_id,
            "baseModel": message.base_model,
            "update": message.update,
            "examples": message.examples,
            "metricsHash": message.metrics_hash,
        },
    }


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        (DOMAIN, MESSAGE),
        (SigningDomain(1, DOMAIN.verifying_contract), MESSAGE),
        (SigningDomain(2**255, DOMAIN.verifying_contract), replace(MESSAGE, examples=2**64 - 1)),
        (DOMAIN, replace(MESSAGE, round_id=2**64 - 1, examples=0)),
    ],
)
def test_the_signature_is_that_of_eth_account(domain, message):
    data = typed_data(domain, message)
    theirs = Account.sign_typed_data(KEY, full_message=data)
    ours = sign_statement(domain, message, KEY)
    assert ours.signer == Account.from_key(KEY).address
    assert ours.signature == theirs.signature
    assert statement_digest(domain, message) == theirs.message_hash
    assert domain_separator(domain) == encode_typed_data(full_message=data).header
    assert recover_signer(domain, ours) == ours.signer
    verify_statement(domain, ours)


# From EIP-55.
@pytest.mark.parametrize(
    "text",
    [
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0xde709f2102306220921060314715629080e2fb77",
    ],
)
def test_checksum_addresses(text):
    assert checksum_address(bytes.fromhex(text[2:])) == text == to_checksum_address(text)


def test_an_address_of_the_wrong_length_is_refused():
    with pytest.raises(SignatureError, match="19 bytes, expected 20"):
        checksum_address(bytes(19))


@pytest.mark.parametrize(
    "key", [b"", bytes(32), bytes(31), bytes(33), CURVE_ORDER.to_bytes(32, "big")]
)
def test_keys_that_are_none_are_refused_and_not_shown(key):
    with pytest.raises(SignatureError) as caught:
        sign_statement(DOMAIN, MESSAGE, key)
    assert caught.value.code == "bad-key"
    assert not key or key.hex() not in str(caught.value)
    with pytest.raises(SignatureError):
        address_of_key(key)


def altered(signature, code):
    s = int.from_bytes(signature[32:64], "big")
    other_v = bytes([55 - signature[64]])
    return {
        "high-s": signature[:32] + (CURVE_ORDER - s).to_bytes(32, "big") + other_v,
        "bad-signature-v": signature[:64] + bytes([signature[64] - 27]),
        "bad-signature-length": signature + b"\0",
        "unrecoverable": bytes(32) + signature[32:],
        "wrong-signer": signature[:64] + other_v,
    }[code]


@pytest.mark.parametrize(
    "code",
    ["high-s", "bad-signature-v", "bad-signature-length", "unrecoverable", "wrong-signer"],
)
def test_bad_signatures_have_a_code_each(code):
    signed = sign_statement(DOMAIN, MESSAGE, KEY)
    bad = replace(signed, signature=altered(signed.signature, code))
    with pytest.raises(SignatureError) as caught:
        verify_statement(DOMAIN, bad)
    assert caught.value.code == code
    assert caught.value.round_id == 7
    assert signed.signer in str(caught.value)


def test_r_that_is_no_point_is_unrecoverable():
    signed = sign_statement(DOMAIN, MESSAGE, KEY)
    for r in (5, CURVE_ORDER, 2**256 - 1):  # 5 is not the x of any point
        bad = replace(signed, signature=r.to_bytes(32, "big") + signed.signature[32:])
        with pytest.raises(SignatureError) as caught:
            recover_signer(DOMAIN, bad)
        assert caught.value.code == "unrecoverable"


def test_the_high_s_twin_would_recover_to_the_same_signer():
    """So it is the check, not the mathematics, that makes a signature unique."""
    signed = sign_statement(DOMAIN, MESSAGE, KEY)
    twin = altered(signed.signature, "high-s")
    assert Account._recover_hash(statement_digest(DOMAIN, MESSAGE), signature=twin) == (
        signed.signer
    )


def other_bytes32(value):
    return bytes([value[0] ^ 1]) + value[1:]


@pytest.mark.parametrize(
    "change",
    [
        {"round_id": 8},
        {"examples": 124},
        {"base_model": other_bytes32(MESSAGE.base_model)},
        {"update": other_bytes32(MESSAGE.update)},
        {"metrics_hash": other_bytes32(MESSAGE.metrics_hash)},
    ],
)
def test_a_signature_is_for_one_message(change):
    signed = sign_statement(DOMAIN, MESSAGE, KEY)
    with pytest.raises(SignatureError) as caught:
        verify_statement(DOMAIN, replace(signed, statement=replace(MESSAGE, **change)))
    assert caught.value.code == "wrong-signer"


@pytest.mark.parametrize(
    "domain",
    [
        replace(DOMAIN, chain_id=1338),
        replace(DOMAIN, verifying_contract=checksum_address(bytes(20))),
    ],
)
def test_a_signature_is_for_one_contract_on_one_chain(domain):
    signed = sign_statement(DOMAIN, MESSAGE, KEY)
    with pytest.raises(SignatureError) as caught:
        verify_statement(domain, signed)
    assert caught.value.code == "wrong-signer"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"round_id": -1}, "round is -1, expected a uint64"),
        ({"examples": 2**64}, "expected a uint64"),
        ({"examples": True}, "examples is True"),
        ({"update": b"\0" * 31}, "update has 31 bytes"),
    ],
)
def test_messages_that_have_no_abi_form_are_refused(change, words):
    with pytest.raises(VerificationError, match=words):
        sign_statement(DOMAIN, replace(MESSAGE, **change), KEY)
