"""Golden vectors of commitments: trees, leaves, signatures, the rule's digest."""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from coordinator.protocol.commitments.digests import (
    commitment_leaf_hash,
    commitments_tree,
    contributor_leaf_hash,
    contributors_tree,
    metrics_hash,
    reward_leaf_hash,
    rewards_tree,
    rule_hash,
    score_leaf_hash,
    scores_tree,
    signature_hash,
)
from coordinator.protocol.commitments.merkle import inclusion_proof, merkle_root
from coordinator.protocol.commitments.parameter_tree import ParameterTree, TreeLayout
from coordinator.protocol.commitments.standard_tree import StandardTree
from coordinator.protocol.keccak import keccak256
from coordinator.protocol.numbers.weights import apportion
from coordinator.protocol.signatures.eip712 import (
    CURVE_ORDER,
    domain_separator,
    sealed_commitment,
    sign_statement,
    statement_digest,
)
from coordinator.protocol.types import (
    Address,
    Commitment,
    CommitmentLeaf,
    ContributorLeaf,
    Presence,
    ReadRequest,
    RewardLeaf,
    RoundId,
    RoundInstruction,
    Rule,
    ScoreLeaf,
    UpdateMessage,
    Wei,
)
from tests.vectors.golden_inputs import ACCOUNTS, DOMAIN, KEYS, MANIFEST, Document, pseudo_values


def merkle_trees() -> Document:
    # The Certificate Transparency project's own test leaves, whose roots are well known.
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657"]
    inputs.append(bytes(range(96, 112)).hex())
    cases = []
    for n in range(1, len(inputs) + 1):
        leaves = [bytes.fromhex(text) for text in inputs[:n]]
        proofs = [[digest.hex() for digest in inclusion_proof(leaves, i)] for i in range(n)]
        cases.append({"leaves": inputs[:n], "root": merkle_root(leaves).hex(), "proofs": proofs})
    return {"cases": cases}


def parameter_trees() -> Document:
    cases = []
    shapes = [(1, 1), (1, 256), (4, 4), (10, 4), (16, 16), (17, 16), (600, 256), (77, 3), (33, 14)]
    for seed, (dimension, chunk_values) in enumerate(shapes):
        layout = TreeLayout(keccak256(bytes([seed])), chunk_values, dimension)
        values = pseudo_values(dimension, seed)
        if dimension >= 4:
            values[:4] = [-(2**31), 2**31 - 1, -1, 0]
        tree = ParameterTree(np.array(values, np.int32), layout)
        proofs = [tree.proof(i) for i in range(layout.chunk_count)]
        cases.append(
            {
                "manifest_digest": layout.manifest_digest.hex(),
                "chunk_values": chunk_values,
                "values": values,
                "root": tree.root.hex(),
                "proofs": [
                    {"chunk": p.chunk.hex(), "siblings": [s.hex() for s in p.siblings]}
                    for p in proofs
                ],
            }
        )
    return {"cases": cases}


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if name.endswith("_wei") else value


def _leaf_case(leaves: Sequence[Any], leaf_hashes: list[bytes], tree: StandardTree) -> Document:
    rows = [{k: _plain(k, v) for k, v in dataclasses.asdict(leaf).items()} for leaf in leaves]
    return {
        "leaves": rows,
        "leaf_hashes": [digest.hex() for digest in leaf_hashes],
        "root": tree.root.hex(),
        "proofs": [[digest.hex() for digest in tree.proof(i)] for i in range(len(leaves))],
    }


def _contributor_leaves(who: list[Address]) -> list[ContributorLeaf]:
    examples = [10 * i + 1 for i in range(len(who))]
    weights = apportion(examples, who)
    return [
        ContributorLeaf(
            RoundId(9),
            i,
            account,
            keccak256(b"update" + bytes([i])),
            examples[i],
            weights[i],
            Wei(10**18 + i),
            keccak256(b"signature" + bytes([i])),
        )
        for i, account in enumerate(who)
    ]


def standard_trees() -> Document:
    kinds = ("contributors", "scores", "rewards", "commitments")
    cases: dict[str, list[Document]] = {kind: [] for kind in kinds}
    for n in range(1, len(ACCOUNTS) + 1):
        who = ACCOUNTS[:n]
        members = _contributor_leaves(who)
        scores = [ScoreLeaf(RoundId(9), account, i * i) for i, account in enumerate(who)]
        rewards = [RewardLeaf(account, Wei(10**20 * i + 1)) for i, account in enumerate(who)]
        cases["contributors"].append(
            _leaf_case(
                members, [contributor_leaf_hash(m) for m in members], contributors_tree(members)
            )
        )
        cases["scores"].append(
            _leaf_case(scores, [score_leaf_hash(s) for s in scores], scores_tree(scores))
        )
        cases["rewards"].append(
            _leaf_case(rewards, [reward_leaf_hash(r) for r in rewards], rewards_tree(rewards))
        )
        sealed = [
            CommitmentLeaf(RoundId(9), account, keccak256(b"commitment" + bytes([i])))
            for i, account in enumerate(who)
        ]
        hashes = [commitment_leaf_hash(leaf) for leaf in sealed]
        cases["commitments"].append(_leaf_case(sealed, hashes, commitments_tree(sealed)))
    return {"empty_root": rewards_tree([]).root.hex(), **cases}


def _statement_cases(key: bytes, i: int, commitment: Commitment) -> list[Document]:
    """One case of each statement; nodes of Flower have numbers of 64 bits."""
    presence = Presence(2**64 - 1 - i, 1_700_000_000 + i)
    request = ReadRequest(keccak256(b"blob" + bytes([i])), 1_800_000_000 + i)
    instruction = RoundInstruction(
        commitment.round_id,
        1 + i % 3,
        keccak256(b"base"),
        keccak256(b"rule"),
        1_900_000_000 + i,
        hashlib.sha256(b"content" + bytes([i])).digest(),
    )
    cases = []
    for kind, statement, signed in (
        ("Presence", presence, sign_statement(DOMAIN, presence, key)),
        ("Commitment", commitment, sign_statement(DOMAIN, commitment, key)),
        ("Read", request, sign_statement(DOMAIN, request, key)),
        ("Instruction", instruction, sign_statement(DOMAIN, instruction, key)),
    ):
        fields = dataclasses.asdict(statement)
        cases.append(
            {
                "type": kind,
                "address": signed.signer,
                "private_key": key.hex(),
                "message": {
                    k: v.hex() if isinstance(v, bytes) else str(v) for k, v in fields.items()
                },
                "digest": statement_digest(DOMAIN, statement).hex(),
                "signature": signed.signature.hex(),
            }
        )
    return cases


def signatures() -> Document:
    cases, statements, refused = [], [], []
    for i, key in enumerate(KEYS):
        metrics = {"loss": 0.5 * i, "examples": i}
        message = UpdateMessage(
            RoundId(i + 1), keccak256(b"base"), keccak256(bytes([i])), 10**i, metrics_hash(metrics)
        )
        signed = sign_statement(DOMAIN, message, key)
        salt = keccak256(b"salt" + bytes([i]))
        sealed = sealed_commitment(DOMAIN, message.round_id, signed.signer, salt, message.update)
        case = {
            "type": "Update",
            "private_key": key.hex(),
            "address": signed.signer,
            "message": {k: _plain(k, v) for k, v in dataclasses.asdict(message).items()},
            "metrics": metrics,
            "digest": statement_digest(DOMAIN, message).hex(),
            "signature": signed.signature.hex(),
            "signature_hash": signature_hash(message.metrics_hash, signed.signature).hex(),
            "salt": salt.hex(),
            "sealed_commitment": sealed.hex(),
        }
        cases.append(case)
        statements += _statement_cases(key, i, Commitment(message.round_id, sealed))
    good = bytes.fromhex(str(cases[0]["signature"]))
    high = CURVE_ORDER - int.from_bytes(good[32:64], "big")
    for code, bad in (
        ("high-s", good[:32] + high.to_bytes(32, "big") + bytes([55 - good[64]])),
        ("bad-signature-v", good[:64] + bytes([good[64] - 27])),
        ("bad-signature-length", good[:64]),
        ("wrong-signer", good[:64] + bytes([55 - good[64]])),
        ("unrecoverable", bytes(64) + good[64:]),
    ):
        refused.append({"case": 0, "signature": bad.hex(), "code": code})
    return {
        "domain": {
            "chain_id": DOMAIN.chain_id,
            "verifying_contract": DOMAIN.verifying_contract,
            "separator": domain_separator(DOMAIN).hex(),
        },
        "cases": cases,
        "statements": statements,
        "refused": refused,
    }


def rules() -> Document:
    base = Rule(
        1, 1, 1, 0, 10_000, 65536, 0, MANIFEST.digest(), 10, 4, 20, 2, 0, keccak256(b"examples")
    )
    variants = [
        base,
        dataclasses.replace(base, kind=2, weighting=2, num_byzantine=3),
        dataclasses.replace(base, kind=3, weighting=2, num_byzantine=1, norm_bound_q=2**64 - 1),
        dataclasses.replace(base, server_lr_q16=32768, server_momentum_q16=58982),
    ]
    cases = []
    for rule in variants:
        fields = dataclasses.asdict(rule)
        fields["norm_bound_q"] = str(rule.norm_bound_q)
        row = {k: _plain(k, v) for k, v in fields.items()}
        cases.append({"rule": row, "rule_hash": rule_hash(rule).hex()})
    return {"cases": cases}
