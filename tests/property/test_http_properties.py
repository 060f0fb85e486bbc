"""What strangers put into HTTP headers never does more than be refused."""

from hypothesis import given
from hypothesis import strategies as st

from contracts.json_bounds import check_nesting
from coordinator.http.blobs import _span
from coordinator.protocol.errors import SignatureError, VerificationError
from coordinator.protocol.signatures.authorization import SCHEME, parse_read, sign_read
from coordinator.protocol.signatures.statements import check_read
from coordinator.protocol.types import Address, SigningDomain

DOMAIN = SigningDomain(1337, Address("0x" + "Cc" * 20))
BLOB = bytes(range(32))
HEADERS = st.text() | st.builds(
    lambda *parts: " ".join((SCHEME, *parts)),
    st.text() | st.binary(max_size=22).map(lambda raw: "0x" + raw.hex()),
    st.text() | st.integers(-5, 10**14).map(str),
    st.text() | st.binary(max_size=70).map(bytes.hex),
)


@given(HEADERS)
def test_any_header_is_a_request_or_a_signature_error(header: str) -> None:
    try:
        signed = parse_read(header, BLOB)
        check_read(signed, domain=DOMAIN, blob=BLOB, now=0)
    except (SignatureError, VerificationError):
        return
    raise AssertionError(f"{header!r} was not signed by anybody")


@given(st.binary(min_size=32, max_size=32).filter(any), st.integers(1, 10**9), st.integers(0, 600))
def test_a_changed_byte_of_a_signature_is_refused(key: bytes, expiry: int, place: int) -> None:
    try:
        header = sign_read(DOMAIN, key, BLOB, expiry)
    except SignatureError:
        return  # not a key of the curve
    good = parse_read(header, BLOB)
    assert check_read(good, domain=DOMAIN, blob=BLOB, now=expiry - 1) == good.signer
    index = place % 65
    changed = bytearray(good.signature)
    changed[index] ^= 1 + place // 65
    bad = parse_read(f"{SCHEME} {good.signer} {expiry} {changed.hex()}", BLOB)
    try:
        check_read(bad, domain=DOMAIN, blob=BLOB, now=expiry - 1)
    except SignatureError:
        return
    raise AssertionError("a changed signature was accepted")


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60))
def test_a_range_is_the_slice_it_names(size: int, first: int, last: int) -> None:
    whole = bytes(range(size))
    for given_first, given_last, expected in (
        (str(first), str(last), whole[first : last + 1]),
        (str(first), "", whole[first:]),
        ("", str(last), whole[max(size - last, 0) :]),
    ):
        low, high = _span(given_first, given_last, size)
        assert whole[low : high + 1] == expected if low <= high else expected == b""
        assert low >= 0
        assert high < max(size, 1)


@given(st.recursive(st.just("0"), lambda inner: inner.map(lambda x: f"[{x}]"), max_leaves=40))
def test_nesting_is_counted_as_it_is(text: str) -> None:
    depth = text.count("[")
    try:
        check_nesting(text.encode())
        assert depth <= 32
    except ValueError:
        assert depth > 32
