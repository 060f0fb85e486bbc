"""Golden vectors of values: canonical JSON, fixed point, weights, aggregates, money."""

import dataclasses
from typing import Any

import numpy as np

from coordinator.protocol.commitments.digests import canonical_json, metrics_hash, rewards_tree
from coordinator.protocol.errors import MalformedUpdateError
from coordinator.protocol.numbers.fixed_point import dequantise, quantise
from coordinator.protocol.numbers.manifest import Manifest, TensorSpec
from coordinator.protocol.numbers.weights import apportion
from coordinator.protocol.round.incentives import accumulate, slash_amount, split_budget
from coordinator.protocol.rules import apply_step, median, server_step, trimmed_mean, weighted_mean
from coordinator.protocol.types import Address, Wei
from tests.vectors.golden_inputs import ACCOUNTS, MANIFEST, Document, pseudo_values


def manifests() -> Document:
    cases = [
        MANIFEST,
        Manifest((TensorSpec("w", (1,), "float32"),)),
        Manifest((TensorSpec('ü"/\\', (0, 5), "float16"), TensorSpec("b", (7,), "float64")), 0, 1),
        Manifest(
            (TensorSpec("w", (2,), "float32"), TensorSpec("n.running_var", (2,), "float32", 16)),
            version=2,
        ),
    ]
    return {
        "cases": [
            {"json": m.to_json().decode(), "sha256": m.digest().hex(), "dimension": m.dimension}
            for m in cases
        ]
    }


_FIXED_INPUTS: list[tuple[str, int, list[float]]] = [
    ("float64", 20, [0.0, -0.0, 1.0, -1.0, 2.0**-21, 3 * 2.0**-21, -(2.0**-21), 5 * 2.0**-21]),
    ("float64", 20, [0.1, -0.1, 3.141592653589793, 2047.9999990463257, -2048.0, 5e-324]),
    ("float32", 20, [0.10000000149011612, -1.5, 2047.9998779296875, 2.0**-149]),
    ("float16", 4, [0.03125, 0.09375, 65504.0, -65504.0]),
    ("float64", 0, [0.5, 1.5, 2.5, -0.5, -1.5, 2147483647.4999998, -2147483648.5]),
    ("float64", 30, [2.0**-31, 3 * 2.0**-31, 1.9999999990686774, -2.0]),
]
_REFUSED_INPUTS = [
    ("float64", 20, float("nan")),
    ("float32", 20, float("inf")),
    ("float64", 20, 2048.0),
    ("float64", 20, 2047.9999997),
    ("float64", 20, -2048.0000005),
    ("float64", 0, 2147483647.5),
]


def fixed_point() -> Document:
    cases, refused = [], []
    for dtype, scale, values in _FIXED_INPUTS:
        array = np.array(values, dtype)
        manifest = Manifest.of({"x": array}, scale_bits=scale)
        vector = quantise({"x": array}, manifest)
        back = dequantise(vector, manifest)["x"]
        cases.append(
            {
                "dtype": dtype,
                "scale_bits": scale,
                "values": [float(v).hex() for v in array],
                "integers": vector.tolist(),
                "restored": [float(v).hex() for v in back],
            }
        )
    for dtype, scale, value in _REFUSED_INPUTS:
        array = np.array([value], dtype)
        try:
            quantise({"x": array}, Manifest.of({"x": array}, scale_bits=scale))
        except MalformedUpdateError as error:
            refused.append(
                {
                    "dtype": dtype,
                    "scale_bits": scale,
                    "value": float(array[0]).hex(),
                    "code": error.code,
                }
            )
    return {"cases": cases, "refused": refused}


def apportionments() -> Document:
    shares = [
        [1],
        [1, 1, 1],
        [3, 0, 5],
        [1, 2, 3, 4, 5],
        [10**30, 1, 1, 1, 10**30],
        [7, 7, 7, 7, 0],
        [2**24 - 1, 1, 2**24],
    ]
    return {
        "cases": [
            {
                "addresses": ACCOUNTS[: len(row)],
                "shares": [str(share) for share in row],
                "weights": apportion(row, ACCOUNTS[: len(row)]),
            }
            for row in shares
        ]
    }


def aggregates() -> Document:
    cases = []
    for seed, (n, d) in enumerate([(1, 3), (2, 5), (3, 8), (4, 8), (5, 20)]):
        rows = [[v >> 8 for v in pseudo_values(d, 100 + 10 * seed + i)] for i in range(n)]
        rows[-1][:2] = [-5, -6]
        updates = [np.array(row, np.int32) for row in rows]
        weights = apportion([i + 1 for i in range(n)], ACCOUNTS[:n])
        trim = (n - 1) // 2
        trimmed = {str(f): trimmed_mean(updates, num_byzantine=f).tolist() for f in range(trim + 1)}
        mean = weighted_mean(updates, weights)
        velocity = np.array([v >> 10 for v in pseudo_values(d, 900 + seed)], np.int32)
        step, after = server_step(mean, velocity, 49152, 58982)
        assert after is not None
        model = np.array([v >> 4 for v in pseudo_values(d, 950 + seed)], np.int32)
        cases.append(
            {
                "updates": rows,
                "weights": weights,
                "weighted_mean": mean.tolist(),
                "median": median(updates).tolist(),
                "trimmed_mean": trimmed,
                "server": {
                    "lr_q16": 49152,
                    "momentum_q16": 58982,
                    "velocity": velocity.tolist(),
                    "velocity_after": after.tolist(),
                    "step": step.tolist(),
                    "model": model.tolist(),
                    "new_model": apply_step(model, step).tolist(),
                },
            }
        )
    return {"cases": cases}


def incentives() -> Document:
    splits = []
    earned: dict[Address, Wei] = {}
    for budget, scores in [(100, [2, 1]), (10**18, [0, 3, 7]), (5, [0, 0]), (7, [3, 3, 3, 3, 3])]:
        who = ACCOUNTS[: len(scores)]
        split = split_budget(Wei(budget), dict(zip(who, scores, strict=True)))
        leaves = accumulate(earned, ACCOUNTS, split.shares)
        earned = {leaf.contributor: leaf.cumulative_wei for leaf in leaves}
        splits.append(
            {
                "budget_wei": str(budget),
                "addresses": who,
                "scores": scores,
                "shares_wei": [str(split.shares[a]) for a in who],
                "paid_wei": str(split.paid_wei),
                "remainder_wei": str(split.remainder_wei),
                "cumulative_wei": [str(leaf.cumulative_wei) for leaf in leaves],
                "rewards_root": rewards_tree(leaves).root.hex(),
            }
        )
    slashes = []
    for bond, bps in [(1001, 5000), (10**18, 10000), (3, 3333), (0, 10000), (10**18, 0)]:
        cut = slash_amount(Wei(bond), bps)
        amounts = {k: str(v) for k, v in dataclasses.asdict(cut).items()}
        slashes.append({"bond_wei": str(bond), "bps": bps, **amounts})
    return {"members": ACCOUNTS, "splits": splits, "slashes": slashes}


def canonical() -> Document:
    values: list[Any] = [
        {},
        {"b": 1, "a": [1, 2.0, -0.0, None, True]},
        {"é": "\U0001f600", "quote": '"\\\n'},
        {"small": 1e-7, "large": 1e22, "third": 1 / 3, "wei": 10**30},
    ]
    return {
        "cases": [
            {"value": v, "json": canonical_json(v).decode(), "sha256": metrics_hash(v).hex()}
            for v in values
        ]
    }
