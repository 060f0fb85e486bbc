"""The header of a member's request: what is signed comes back, and nothing else is taken."""

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from coordinator.protocol.errors import SignatureError
from coordinator.protocol.signatures.authorization import parse_read, sign_read
from coordinator.protocol.signatures.statements import check_read
from coordinator.protocol.types import Address, SigningDomain

KEY = b"\x07" * 32
WHO = Account.from_key(KEY).address
DOMAIN = SigningDomain(1337, Address("0x" + "Cc" * 20))
BLOB = b"\xab" * 32


def test_what_is_signed_is_the_typed_data_that_wallets_sign() -> None:
    header = sign_read(DOMAIN, KEY, BLOB, 1000)
    scheme, signer, expiry, signature = header.split(" ")
    assert (scheme, signer, expiry) == ("Fedproof", WHO, "1000")
    typed = encode_typed_data(
        {
            "name": "Fedproof",
            "version": "1",
            "chainId": 1337,
            "verifyingContract": DOMAIN.verifying_contract,
        },
        {"Read": [{"name": "blob", "type": "bytes32"}, {"name": "expiry", "type": "uint64"}]},
        {"blob": BLOB, "expiry": 1000},
    )
    assert Account.recover_message(typed, signature=bytes.fromhex(signature)) == WHO


def test_it_is_good_for_its_blob_until_it_expires() -> None:
    signed = parse_read(sign_read(DOMAIN, KEY, BLOB, 1000), BLOB)
    assert check_read(signed, domain=DOMAIN, blob=BLOB, now=999) == WHO
    with pytest.raises(SignatureError) as late:
        check_read(signed, domain=DOMAIN, blob=BLOB, now=1000)
    assert late.value.code == "expired"
    other = parse_read(sign_read(DOMAIN, KEY, BLOB, 1000), b"\xac" * 32)
    with pytest.raises(SignatureError) as wrong:
        check_read(other, domain=DOMAIN, blob=b"\xac" * 32, now=999)
    assert wrong.value.code == "wrong-signer"


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "no-authorization"),
        ("Bearer abc", "malformed-authorization"),
        (f"Basic {WHO} 1000 {'00' * 65}", "malformed-authorization"),
        (f"Fedproof {WHO} 1000", "malformed-authorization"),
        (f"Fedproof {WHO} -5 {'00' * 65}", "malformed-authorization"),
        (f"Fedproof {WHO} {'9' * 4000} {'00' * 65}", "malformed-authorization"),
        (f"Fedproof 0x12 1000 {'00' * 65}", "malformed-authorization"),
        (f"Fedproof {WHO} 1000 zz", "malformed-authorization"),
    ],
)
def test_anything_else_is_named(header: str, code: str) -> None:
    with pytest.raises(SignatureError) as refused:
        parse_read(header, BLOB)
    assert refused.value.code == code


def test_a_signature_of_the_wrong_length_is_refused_when_it_is_checked() -> None:
    signed = parse_read(f"Fedproof {WHO} 1000 {'00' * 64}", BLOB)
    with pytest.raises(SignatureError) as refused:
        check_read(signed, domain=DOMAIN, blob=BLOB, now=1)
    assert refused.value.code == "bad-signature-length"
