"""What signed instructions prove, and who could forge, replay or frame."""

import json
from dataclasses import replace
from typing import Any

import pytest

from coordinator.protocol.errors import SignatureError, VerificationError
from coordinator.protocol.evidence import evidence, judge, read_evidence
from coordinator.protocol.instructions import (
    EVALUATE,
    REVEAL,
    TRAIN,
    buffer_digest,
    config_of,
    content_hash,
    contract_of,
    differences,
    instruction_from,
    instruction_json,
    message_content,
    phase_number,
    reveal_content,
    verify_instruction,
)
from coordinator.protocol.signatures.eip712 import CURVE_ORDER, address_of_key, sign_statement
from coordinator.protocol.types import (
    RoundId,
    RoundInstruction,
    Signed,
    SignedInstruction,
    SigningDomain,
)

KEY, OTHER_KEY = bytes(31) + b"\x2a", bytes(31) + b"\x2b"
DOMAIN = SigningDomain(1337, contract_of(address_of_key(KEY)))
CONFIG = {
    "lr": 0.1,
    "epochs": 2,
    "name": "é",
    "seed": b"\x00\xff",
    "drop": [True, False],
    "most": float("inf"),
    "layers": [1, 2],
}


def content_of(**config: Any) -> dict[str, Any]:
    return message_content(
        {**CONFIG, **config},
        records=("arrays", "config"),
        tensor_order=["w", "b", "n"],
        buffers={"n": buffer_digest("int64", (1,), b"\x07" * 8)},
        sealed=False,
    )


def signed(
    *,
    key: bytes = KEY,
    domain: SigningDomain = DOMAIN,
    round_id: int = 7,
    phase: str = TRAIN,
    content: dict[str, Any] | None = None,
    **fields: Any,
) -> SignedInstruction:
    content = content_of() if content is None else content
    values = {"base_model": b"\1" * 32, "rule_hash": b"\2" * 32, "deadline": 99, **fields}
    statement = RoundInstruction(
        RoundId(round_id), phase_number(phase), **values, content=content_hash(content)
    )
    return SignedInstruction(domain, sign_statement(domain, statement, key), content)


# --- content -------------------------------------------------------------------------------------


def test_a_config_comes_back_from_the_content_in_value_and_type():
    found = config_of(json.loads(json.dumps(content_of())))
    assert found == CONFIG
    assert {k: type(v) for k, v in found.items()} == {k: type(v) for k, v in CONFIG.items()}


@pytest.mark.parametrize(
    "changes",
    [
        {"lr": 0.2},
        {"epochs": 2.0},
        {"epochs": True},
        {"seed": "00ff"},
        {"most": float("-inf")},
        {"layers": [2, 1]},
        {"drop": [1, 0]},
        {"more": 1},
    ],
)
def test_any_other_config_has_another_hash(changes):
    assert content_hash(content_of(**changes)) != content_hash(content_of())


def test_other_names_orders_buffers_and_kinds_have_other_hashes():
    plain = {"records": ("a", "c"), "tensor_order": ["x", "y"], "buffers": {}, "sealed": False}
    others = [
        {"records": ("c", "a")},
        {"tensor_order": ["y", "x"]},
        {"buffers": {"n": buffer_digest("int64", (1,), b"")}},
        {"sealed": True},
    ]
    found = {content_hash(message_content({}, **{**plain, **other})) for other in [{}, *others]}
    assert len(found) == 5
    digests = {
        buffer_digest(*array)
        for array in (
            ("int64", (2, 1), b"ab"),
            ("int64", (1, 2), b"ab"),
            ("int32", (2, 1), b"ab"),
            ("int64", (2, 1), b"ba"),
        )
    }
    assert len(digests) == 4


# --- proofs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "field"),
    [
        (signed(base_model=b"\3" * 32), "base_model"),
        (signed(rule_hash=b"\3" * 32), "rule_hash"),
        (signed(deadline=100), "deadline"),
        (signed(content=content_of(lr=0.2)), "content.config.lr"),
        (signed(content=content_of(more=1)), "content.config.more"),
        (replace(signed(content=content_of(lr=0.2)), content=None), "content_hash"),
    ],
)
def test_two_that_differ_prove_it_and_the_difference_is_named(other, field):
    verdict = judge([signed(), other])
    assert verdict.proves_equivocation
    assert [{i.signed for i in pair} for pair in verdict.pairs] == [{signed().signed, other.signed}]
    assert list(differences(*verdict.pairs[0])) == [field]


@pytest.mark.parametrize(
    "other",
    [
        signed(),  # sent again after a crash
        signed(round_id=8),
        signed(phase=EVALUATE),
        signed(phase=REVEAL, content=reveal_content(b"{}")),
        replace(signed(), content=None),  # one participant kept the content, the other did not
    ],
    ids=["the same", "another round", "to evaluate", "to reveal", "no content"],
)
def test_an_honest_coordinator_proves_nothing_against_itself(other):
    verdict = judge([signed(), other, other])
    assert (verdict.pairs, verdict.invalid) == ([], [])
    assert not verdict.proves_equivocation


def test_another_federations_or_another_chains_instruction_is_another_matter():
    """With the same key: the domain is signed too."""
    elsewhere = SigningDomain(DOMAIN.chain_id + 1, DOMAIN.verifying_contract)
    verdict = judge([signed(), signed(domain=elsewhere, deadline=100)])
    assert (len(verdict.valid), verdict.pairs) == (2, [])
    # its signature, put under our domain, is by somebody else
    moved = replace(signed(domain=elsewhere, deadline=100), domain=DOMAIN)
    verdict = judge([signed(), moved])
    assert (len(verdict.invalid), verdict.pairs) == (1, [])


def test_nobody_but_the_coordinator_of_the_contract_can_sign():
    """A made-up pair by a key of one's own: the contract's address names who deployed it."""
    framed = [signed(key=OTHER_KEY, deadline=d) for d in (99, 100)]
    verdict = judge(framed)
    assert verdict.pairs == []
    assert ["expected the coordinator of" in reason for _, reason in verdict.invalid] == [True] * 2
    with pytest.raises(SignatureError) as caught:
        verify_instruction(framed[0])
    assert caught.value.code == "not-coordinator"
    # claiming the coordinator's address does not help
    claimed = [replace(i, signed=replace(i.signed, signer=address_of_key(KEY))) for i in framed]
    assert judge(claimed).pairs == []
    # a contract of one's own is not the federation's
    own = SigningDomain(DOMAIN.chain_id, contract_of(address_of_key(OTHER_KEY)))
    verdict = judge([signed(key=OTHER_KEY, domain=own, deadline=d) for d in (99, 100)])
    assert [first.domain for first, _ in verdict.pairs] == [own]


@pytest.mark.parametrize(
    "forge",
    [
        lambda s: s[:64] + bytes([55 - s[64]]),
        lambda s: (
            s[:32]
            + (CURVE_ORDER - int.from_bytes(s[32:64], "big")).to_bytes(32, "big")
            + bytes([55 - s[64]])
        ),
        lambda s: bytes(65),
        lambda s: bytes([s[0] ^ 1]) + s[1:],
    ],
    ids=["other v", "high s", "zero", "one bit"],
)
def test_a_changed_signature_proves_nothing(forge):
    good = signed(deadline=100)
    changed: Signed[RoundInstruction] = replace(good.signed, signature=forge(good.signed.signature))
    verdict = judge([signed(), replace(good, signed=changed)])
    assert (len(verdict.invalid), verdict.pairs) == (1, [])


def test_one_bad_instruction_does_not_spoil_a_proof():
    bad = signed(key=OTHER_KEY)
    verdict = judge([bad, signed(), signed(deadline=100), bad])
    assert len(verdict.pairs) == 1


def test_of_many_the_same_two_are_chosen_in_whatever_order_they_come():
    many = [signed(deadline=d) for d in range(90, 100)]
    assert judge(many).pairs == judge(many[::-1]).pairs


# --- files ---------------------------------------------------------------------------------------


def test_a_file_is_the_same_in_any_order_and_reads_back():
    some = [signed(), signed(deadline=100), signed(round_id=8), signed(phase=EVALUATE)]
    data = evidence(some)
    assert data == evidence([*some[::-1], some[0]])
    found = read_evidence(data, "e.json")
    assert sorted(map(instruction_json, found), key=str) == sorted(
        map(instruction_json, some), key=str
    )
    assert judge(found).proves_equivocation


def changed(**fields: Any) -> Any:
    return {**instruction_json(signed()), **fields}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "found list, expected an object"),
        ({"round": 1}, "missing or unknown"),
        (changed(more=1), "'more': missing or unknown"),
        (changed(round="7"), "round: found 'str', expected an integer"),
        (changed(round=True), "round: found 'bool', expected an integer"),
        (changed(round=-1), "round: found -1, expected 0 or more"),
        (changed(deadline=2**64), "deadline: found 18446744073709551616, expected 0 or more"),
        (changed(phase="train\x1b[2J"), "phase: found 'train\\x1b[2J', expected train or"),
        (changed(base_model="AB" * 32), "base_model: found 'ABAB"),
        (changed(signature="00"), "signature: found '00', expected 130 lower-case hexadecimal"),
        (changed(contract=DOMAIN.verifying_contract.lower()), "expected an address with its"),
        (changed(coordinator="me"), "coordinator: found 'me', expected an address"),
        (changed(content=[]), "content: found 'list', expected an object or null"),
        (changed(content=content_of(lr=9.0)), "content: has another digest"),
        (changed(content={"a": float("nan")}), "content: canonical JSON"),
    ],
)
def test_what_is_no_instruction_is_refused_by_name(value, said):
    with pytest.raises(VerificationError) as caught:
        instruction_from(value, "e.json: instructions[0]")
    assert str(caught.value).startswith("e.json: instructions[0]: ")
    assert said in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "e.json: not JSON"),
        (b"\xff", "e.json: not JSON"),
        (b"[" * 100_000, "e.json: JSON nested"),
        (b"[]", "expected an object with 'format' and 'instructions'"),
        (b'{"format":"fedproof-evidence-2","instructions":[]}', "found 'fedproof-evidence-2'"),
        (b'{"format":"fedproof-evidence-1","instructions":{}}', "instructions: expected a list"),
        (b'{"format":"fedproof-evidence-1","instructions":[1]}', "e.json: instructions[0]: found"),
    ],
)
def test_what_is_no_evidence_is_refused_by_name(data, said):
    with pytest.raises(VerificationError) as caught:
        read_evidence(data, "e.json")
    assert said in str(caught.value)
