"""Every rule for a transaction: what breaks it is refused by name, what meets it is mined."""

import pytest
import rlp
from eth_account import Account
from histories import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.node.admission import TransactionRefusedError, data_floor, decode_transaction
from contracts.node.evm import GAS_CAP_PER_TRANSACTION, MAX_TRANSACTION_BYTES

SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def code_of(raw: bytes) -> str:
    with pytest.raises(TransactionRefusedError) as caught:
        decode_transaction(raw, chain_id=1337)
    assert caught.value.transaction_hash.hex() in str(caught.value)
    return caught.value.code


def legacy_parts(raw: bytes) -> list[bytes]:
    return list(rlp.decode(raw))


class TestForm:
    def test_each_supported_type_is_taken(self, alice):
        legacy = alice.sign(gasPrice=2 * 10**9)
        listed = alice.sign(type=1, gasPrice=2 * 10**9, accessList=[], gas=30_000)
        dynamic = alice.sign(type=2)
        senders = {
            decode_transaction(raw, chain_id=1337).sender.hex() for raw in (legacy, listed, dynamic)
        }
        assert senders == {alice.address[2:].lower()}

    @pytest.mark.parametrize("raw", [b"", b"\x7f", b"\xc0", b"\x02", b"\x02\xc0", b"\xf8\x00"])
    def test_nonsense(self, raw):
        assert code_of(raw) in ("malformed", "unsupported-type")

    def test_blob_and_set_code_transactions(self, alice):
        body = alice.sign(type=2)[1:]
        for kind in (0, 3, 4, 5, 0x7F):
            assert code_of(bytes([kind]) + body) == "unsupported-type"

    def test_bytes_after_the_end(self, alice):
        assert code_of(alice.sign() + b"\x00") == "malformed"

    def test_a_number_with_a_leading_zero(self, alice):
        parts = legacy_parts(alice.sign(gasPrice=10**9, nonce=1))
        parts[0] = b"\x00\x01"
        assert code_of(rlp.encode(parts)) == "malformed"

    def test_size(self, alice):
        gas = GAS_CAP_PER_TRANSACTION
        data = b"\x01" * (MAX_TRANSACTION_BYTES - 200)
        assert decode_transaction(alice.sign(data=data, gas=gas), chain_id=1337)
        assert code_of(alice.sign(data=data + b"\x01" * 200, gas=gas)) == "too-large"

    @given(data=st.data())
    @settings(max_examples=examples(300), deadline=None)
    def test_damaged_transactions_are_refused_or_differ(self, data):
        account = Account.from_key(b"\x01" * 32)
        kind = data.draw(st.sampled_from([0, 2]))
        fields = {"to": account.address, "value": 1, "gas": 21_000, "nonce": 0, "chainId": 1337}
        price = {"maxFeePerGas": 9, "maxPriorityFeePerGas": 0} if kind else {"gasPrice": 9}
        raw = bytearray(account.sign_transaction({**fields, **price}).raw_transaction)
        position = data.draw(st.integers(0, len(raw) - 1))
        raw[position] ^= data.draw(st.integers(1, 255))
        try:
            decoded = decode_transaction(bytes(raw), chain_id=1337)
        except TransactionRefusedError:
            return
        assert decoded.encode() == bytes(raw)
        assert decoded.sender.hex() != account.address[2:].lower()

    @pytest.mark.parametrize("kind", [0, 1, 2])
    def test_a_list_in_place_of_a_number_is_no_other_form_of_it(self, kind):
        """py-evm takes an empty list for 0: a second transaction would have the same signature."""
        account = Account.from_key(b"\x01" * 32)
        fields = {"to": account.address, "value": 0, "gas": 21_000, "nonce": 0, "chainId": 1337}
        price = {"maxFeePerGas": 9, "maxPriorityFeePerGas": 0} if kind == 2 else {"gasPrice": 9}
        more = {"accessList": []} if kind == 1 else {}
        raw = bytes(account.sign_transaction({**fields, **price, **more}).raw_transaction)
        prefix, form = (raw[:1], rlp.decode(raw[1:])) if kind else (b"", rlp.decode(raw))
        assert decode_transaction(prefix + rlp.encode(form), chain_id=1337).encode() == raw
        zeros = [index for index, field in enumerate(form) if field == b""]
        assert len(zeros) >= 3
        for index in zeros:
            changed = [[] if at == index else field for at, field in enumerate(form)]
            assert code_of(prefix + rlp.encode(changed)) == "malformed"

    @given(raw=st.binary(max_size=300))
    @settings(max_examples=examples(300), deadline=None)
    def test_random_bytes_are_refused_by_name(self, raw):
        assert code_of(raw)


class TestSignature:
    def test_another_chain(self, alice):
        alice.chain_id = 1
        assert code_of(alice.sign()) == "wrong-chain"
        assert code_of(alice.sign(gasPrice=10**9)) == "wrong-chain"

    def test_no_chain_id(self, alice):
        fields = {"to": alice.address, "value": 1, "gas": 21_000, "nonce": 0, "gasPrice": 9}
        raw = alice.account.sign_transaction(fields).raw_transaction
        assert code_of(bytes(raw)) == "no-chain-id"

    def test_high_s(self, alice):
        parts = legacy_parts(alice.sign(gasPrice=10**9))
        s = int.from_bytes(parts[8], "big")
        v = int.from_bytes(parts[6], "big")
        parts[8] = (SECP256K1_ORDER - s).to_bytes(32, "big")
        parts[6] = (v ^ 1 if v % 2 else v - 1).to_bytes(2, "big")
        assert code_of(rlp.encode(parts)) == "bad-signature"

    @pytest.mark.parametrize(("r", "s"), [(0, 1), (1, 0), (0, 0), (SECP256K1_ORDER, 1)])
    def test_impossible_values(self, alice, r, s):
        parts = legacy_parts(alice.sign(gasPrice=10**9))
        parts[7:9] = [rlp.sedes.big_endian_int.serialize(n) for n in (r, s)]
        assert code_of(rlp.encode(parts)) == "bad-signature"

    def test_parity(self, alice):
        parts = list(rlp.decode(alice.sign(type=2)[1:]))
        parts[9] = b"\x02"
        assert code_of(b"\x02" + rlp.encode(parts)) == "bad-signature"


class TestGas:
    def test_cap(self, alice):
        assert code_of(alice.sign(gas=GAS_CAP_PER_TRANSACTION + 1)) == "gas-cap"
        assert decode_transaction(alice.sign(gas=GAS_CAP_PER_TRANSACTION), chain_id=1337)

    def test_intrinsic_cost(self, alice):
        assert code_of(alice.sign(gas=20_999)) == "intrinsic-gas"
        assert decode_transaction(alice.sign(gas=21_000), chain_id=1337)

    def test_calldata_floor(self, alice):
        # 100 non-zero bytes: 16 each makes 22,600 intrinsic; the floor is 40 each.
        data = b"\x01" * 100
        assert data_floor(data) == 25_000
        assert code_of(alice.sign(data=data, gas=24_999)) == "intrinsic-gas"
        assert decode_transaction(alice.sign(data=data, gas=25_000), chain_id=1337)
        assert data_floor(b"\x00" * 100) == 22_000

    def test_creation(self, alice):
        # 53,000 + 32 zero bytes at 4 + one word of init code at 2; the floor is lower.
        assert code_of(alice.sign(to="", value=0, data=b"\0" * 32, gas=53_129)) == "intrinsic-gas"
        assert decode_transaction(
            alice.sign(to="", value=0, data=b"\0" * 32, gas=53_130), chain_id=1337
        )

    def test_init_code_size(self, alice):
        big = b"\0" * 49_153
        assert code_of(alice.sign(to="", data=big, gas=3_000_000)) == "initcode-too-large"
        assert decode_transaction(alice.sign(to="", data=big[1:], gas=3_000_000), chain_id=1337)

    def test_tip_above_the_fee(self, alice):
        raw = alice.sign(maxFeePerGas=10, maxPriorityFeePerGas=11)
        assert code_of(raw) == "fee-too-low"

    def test_nonce_out_of_range(self, alice):
        assert code_of(alice.sign(nonce=2**64 - 1)) == "malformed"


class TestAgainstState:
    """A bad one costs only itself; the block is made of the rest."""

    def refusals(self, node, *raw: bytes) -> list[tuple[int, str]]:
        return [(bad.index, bad.code) for bad in node.mine(raw).refused]

    def test_nonces(self, node, alice):
        first, second = alice.sign(), alice.sign()
        ahead = alice.sign(nonce=7)
        assert self.refusals(node, first, first, ahead, second) == [
            (1, "nonce-too-low"),
            (2, "nonce-too-high"),
        ]
        assert node.get_nonce(alice.address) == 2

    def test_balance(self, node, stranger, alice):
        poor = stranger.sign()
        assert self.refusals(node, poor, alice.sign()) == [(0, "insufficient-funds")]
        assert len(node.head.transaction_hashes) == 1

    def test_money_that_arrives_in_the_same_block_can_be_spent(self, node, alice, stranger):
        funding = alice.sign(to=stranger.address, value=10**18)
        assert self.refusals(node, funding, stranger.sign()) == []

    def test_value_and_gas_together(self, node, bob):
        balance = node.get_balance(bob.address)
        cost = 21_000 * 2 * 10**9
        assert self.refusals(node, bob.sign(value=balance - cost + 1)) == [
            (0, "insufficient-funds")
        ]
        bob.nonce = 0
        assert self.refusals(node, bob.sign(value=balance - cost)) == []

    def test_base_fee(self, node, alice):
        fee = node.next_base_fee_wei
        assert self.refusals(node, alice.sign(maxFeePerGas=fee - 1)) == [(0, "fee-too-low")]
        alice.nonce = 0
        fee = node.next_base_fee_wei
        assert self.refusals(node, alice.sign(maxFeePerGas=fee)) == []

    def test_room_in_the_block(self, node, alice):
        gas = GAS_CAP_PER_TRANSACTION  # three fit into 60 M only if little of it is used
        data = b"\x01" * 100_000  # uses 4 M
        raws = [alice.sign(data=data, gas=gas) for _ in range(20)]
        block = node.mine(raws)
        assert block.refused
        assert {bad.code for bad in block.refused} == {"block-full", "nonce-too-high"}
        assert len(block.receipts) == 11  # 43.3 M left none of 16.8 M free
        assert node.head.gas_used == 11 * 4_021_000

    def test_malformed_ones_keep_their_place(self, node, alice):
        good = alice.sign()
        assert self.refusals(node, b"", good, b"\x03") == [
            (0, "malformed"),
            (2, "unsupported-type"),
        ]
        assert len(node.head.transaction_hashes) == 1
