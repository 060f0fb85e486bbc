"""Fixed point, weights and money: what holds for every input."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from coordinator.protocol.canonical import canonical_json, parse_json
from coordinator.protocol.errors import MalformedUpdateError
from coordinator.protocol.numbers.fixed_point import dequantise, quantise, subtract
from coordinator.protocol.numbers.manifest import Manifest, TensorSpec
from coordinator.protocol.numbers.norms import squared_norm
from coordinator.protocol.numbers.weights import apportion
from coordinator.protocol.round.incentives import accumulate, slash_amount, split_budget
from coordinator.protocol.signatures.eip712 import checksum_address
from coordinator.protocol.types import WEIGHT_TOTAL

int32s = st.integers(-(2**31), 2**31 - 1)
vectors = hnp.arrays(np.int32, st.integers(1, 40), elements=int32s)
addresses = st.binary(min_size=20, max_size=20).map(checksum_address)
wei = st.integers(0, 10**30)


def single(size, dtype, scale_bits):
    return Manifest((TensorSpec("w", (size,), dtype),), scale_bits=scale_bits)


@given(vectors, st.integers(0, 30))
def test_float64_carries_every_integer_there_and_back(vector, scale_bits):
    manifest = single(vector.size, "float64", scale_bits)
    assert quantise(dequantise(vector, manifest), manifest).tolist() == vector.tolist()


@given(
    hnp.arrays(np.int32, st.integers(1, 40), elements=st.integers(-(2**24), 2**24)),
    st.integers(0, 30),
)
def test_float32_carries_24_bits_there_and_back(vector, scale_bits):
    manifest = single(vector.size, "float32", scale_bits)
    assert quantise(dequantise(vector, manifest), manifest).tolist() == vector.tolist()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@given(data=st.data(), scale_bits=st.integers(0, 30))
def test_every_value_becomes_the_nearest_integer_or_is_refused(dtype, data, scale_bits):
    width = int(dtype[5:])
    values = data.draw(hnp.arrays(dtype, 5, elements=st.floats(width=width)))
    manifest = single(5, dtype, scale_bits)
    exact = [
        round(Fraction(float(v)) * 2**scale_bits) if math.isfinite(v) else None for v in values
    ]
    fits = [e is not None and -(2**31) <= e < 2**31 for e in exact]
    if all(fits):
        assert quantise({"w": values}, manifest).tolist() == exact
    else:
        with pytest.raises(MalformedUpdateError, match=rf"at \[{fits.index(False)}\] is"):
            quantise({"w": values}, manifest)


@given(st.data())
def test_subtract_is_exact_or_refused(data):
    size = data.draw(st.integers(1, 20))
    rows = hnp.arrays(np.int32, size, elements=int32s)
    trained, base = data.draw(rows), data.draw(rows)
    exact = [int(a) - int(b) for a, b in zip(trained, base, strict=True)]
    if all(-(2**31) <= e < 2**31 for e in exact):
        assert subtract(trained, base).tolist() == exact
    else:
        with pytest.raises(MalformedUpdateError):
            subtract(trained, base)


@given(vectors)
def test_squared_norm_is_exact(vector):
    assert squared_norm(vector) == sum(int(v) ** 2 for v in vector)


@given(st.dictionaries(addresses, st.integers(0, 10**25), min_size=1, max_size=30), st.randoms())
def test_apportionment(shares, random):
    assume(any(shares.values()))
    names = list(shares)
    weights = dict(zip(names, apportion([shares[n] for n in names], names), strict=True))
    assert sum(weights.values()) == WEIGHT_TOTAL
    total = sum(shares.values())
    for name, share in shares.items():
        quota = Fraction(share * WEIGHT_TOTAL, total)
        assert weights[name] in (math.floor(quota), math.ceil(quota))
    random.shuffle(names)
    assert apportion([shares[n] for n in names], names) == [weights[n] for n in names]


@given(
    st.dictionaries(addresses, st.integers(0, 10**6), min_size=2, max_size=20),
    st.integers(1, 1000),
)
def test_apportionment_is_monotone_and_blind_to_scale(shares, factor):
    assume(any(shares.values()))
    names = list(shares)
    weights = apportion([shares[n] for n in names], names)
    assert apportion([shares[n] * factor for n in names], names) == weights
    ranked = sorted(zip((shares[n] for n in names), weights, strict=True))
    for (less, light), (more, heavy) in pairwise(ranked):
        assert light <= heavy or less == more


@given(wei, st.dictionaries(addresses, st.integers(0, 2**64 - 1), max_size=20))
def test_a_budget_is_paid_out_exactly_and_never_exceeded(budget, scores):
    split = split_budget(budget, scores)
    assert sum(split.shares.values()) == split.paid_wei
    assert split.paid_wei + split.remainder_wei == budget
    assert split.remainder_wei >= 0
    if any(scores.values()):
        assert split.remainder_wei < len(scores)
    for address, score in scores.items():
        if score == 0:
            assert split.shares[address] == 0


@given(st.dictionaries(addresses, st.tuples(wei, wei), max_size=20))
def test_accumulated_rewards_keep_every_wei(amounts):
    members = list(amounts)
    earned = {who: amounts[who][0] for who in members}
    shares = {who: amounts[who][1] for who in members}
    leaves = accumulate(earned, members, shares)
    assert [leaf.contributor for leaf in leaves] == members
    assert [leaf.cumulative_wei for leaf in leaves] == [sum(amounts[who]) for who in members]


@given(wei, st.integers(0, 10_000))
def test_a_slash_is_all_accounted_for(bond, bps):
    slash = slash_amount(bond, bps)
    assert slash.bounty_wei + slash.burned_wei == slash.taken_wei <= bond
    assert 0 <= slash.burned_wei - slash.bounty_wei <= 1
    assert slash.taken_wei * 10_000 <= bond * bps < (slash.taken_wei + 1) * 10_000


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(plain)
def test_canonical_json_reads_back_and_is_a_fixed_point(value):
    text = canonical_json(value)
    assert parse_json(text, "test") == value
    assert canonical_json(parse_json(text, "test")) == text


@given(st.dictionaries(st.text(), st.integers(), max_size=6), st.randoms())
def test_canonical_json_does_not_depend_on_the_order_of_keys(value, random):
    items = list(value.items())
    random.shuffle(items)
    assert canonical_json(dict(items)) == canonical_json(value)


specs = st.builds(
    TensorSpec,
    st.text(min_size=1, max_size=8),
    st.lists(st.integers(0, 5), max_size=3).map(tuple),
    st.sampled_from(["float16", "float32", "float64"]),
)


@given(
    st.lists(specs, min_size=1, max_size=5, unique_by=lambda s: s.name),
    st.integers(0, 30),
    st.integers(1, 2**20),
)
def test_manifests_survive_json(tensors, scale_bits, chunk_values):
    assume(sum(spec.size for spec in tensors) > 0)
    manifest = Manifest(tuple(tensors), scale_bits=scale_bits, chunk_values=chunk_values)
    assert Manifest.from_json(manifest.to_json()) == manifest
