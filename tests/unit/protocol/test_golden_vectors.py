"""The core against the golden vectors, and the vectors against a verifier that shares no code."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from coordinator.protocol import rules as aggregation
from coordinator.protocol.commitments import digests as commitment
from coordinator.protocol.commitments.merkle import merkle_root, verify_inclusion
from coordinator.protocol.commitments.parameter_tree import (
    ChunkProof,
    ParameterTree,
    TreeLayout,
    verify_chunk,
)
from coordinator.protocol.commitments.standard_tree import StandardTree, verify
from coordinator.protocol.errors import MalformedUpdateError, SignatureError
from coordinator.protocol.numbers.fixed_point import dequantise, quantise
from coordinator.protocol.numbers.manifest import Manifest, TensorSpec
from coordinator.protocol.numbers.weights import apportion
from coordinator.protocol.signatures.eip712 import (
    recover_signer,
    sealed_commitment,
    sign_statement,
    statement_digest,
    verify_statement,
)
from coordinator.protocol.types import (
    Commitment,
    CommitmentLeaf,
    ContributorLeaf,
    Presence,
    ReadRequest,
    RewardLeaf,
    RoundInstruction,
    Rule,
    ScoreLeaf,
    Signed,
    SigningDomain,
    UpdateMessage,
)

ROOT = Path(__file__).parents[3]
VECTORS = ROOT / "tests" / "vectors"
VERIFIER = VECTORS / "independent_verifier.py"

LEAVES = {
    "contributors": (
        commitment.contributor_leaf_hash,
        commitment.contributors_tree,
        ContributorLeaf,
    ),
    "scores": (commitment.score_leaf_hash, commitment.scores_tree, ScoreLeaf),
    "rewards": (commitment.reward_leaf_hash, commitment.rewards_tree, RewardLeaf),
    "commitments": (commitment.commitment_leaf_hash, commitment.commitments_tree, CommitmentLeaf),
}


def load(name):
    document = json.loads((VECTORS / f"{name}.json").read_text())
    assert document["format"] == 1
    return document


def raw(value):
    return [raw(v) for v in value] if isinstance(value, list) else bytes.fromhex(value)


def test_the_committed_vectors_are_what_the_code_gives():
    result = subprocess.run(
        [sys.executable, "-m", "tests.vectors.generate", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, "0 of 11 files differ: none\n"), result.stderr


def test_manifests():
    for case in load("manifest")["cases"]:
        manifest = Manifest.from_json(case["json"].encode())
        assert manifest.to_json().decode() == case["json"]
        assert manifest.digest() == raw(case["sha256"])
        assert manifest.dimension == case["dimension"]


def test_fixed_point():
    document = load("fixedpoint")
    for case in document["cases"]:
        values = np.array([float.fromhex(v) for v in case["values"]], case["dtype"])
        manifest = Manifest.of({"x": values}, scale_bits=case["scale_bits"])
        assert quantise({"x": values}, manifest).tolist() == case["integers"]
        back = dequantise(np.array(case["integers"], np.int32), manifest)["x"]
        assert [float(v).hex() for v in back] == case["restored"]
    for case in document["refused"]:
        value = np.array([float.fromhex(case["value"])], case["dtype"])
        manifest = Manifest((TensorSpec("x", (1,), case["dtype"]),), scale_bits=case["scale_bits"])
        with pytest.raises(MalformedUpdateError) as caught:
            quantise({"x": value}, manifest)
        assert caught.value.code == case["code"]


def test_merkle_trees_of_certificate_transparency():
    cases = load("merkle")["cases"]
    # published with the Certificate Transparency reference code
    assert cases[-1]["root"] == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    for case in cases:
        leaves = raw(case["leaves"])
        assert merkle_root(leaves) == raw(case["root"])
        for index, proof in enumerate(raw(case["proofs"])):
            verify_inclusion(raw(case["root"]), leaves[index], index, len(leaves), proof)


def test_parameter_trees():
    for case in load("parameter_tree")["cases"]:
        values = np.array(case["values"], np.int32)
        layout = TreeLayout(raw(case["manifest_digest"]), case["chunk_values"], values.size)
        tree = ParameterTree(values, layout)
        assert tree.root == raw(case["root"])
        for index, entry in enumerate(case["proofs"]):
            proof = ChunkProof(index, raw(entry["chunk"]), tuple(raw(entry["siblings"])))
            assert tree.proof(index) == proof
            verify_chunk(tree.root, layout, proof)


def leaf_from(kind, row):
    values = row.values() if isinstance(row, dict) else row
    converted = []
    for value in values:
        if isinstance(value, str) and len(value.removeprefix("0x")) == 64:
            converted.append(bytes.fromhex(value.removeprefix("0x")))
        elif isinstance(value, str) and not value.startswith("0x"):
            converted.append(int(value))
        else:
            converted.append(value)
    return LEAVES[kind][2](*converted)


def check_tree(kind, case):
    leaf_hash, make_tree, _ = LEAVES[kind]
    leaves = [leaf_from(kind, row) for row in case["leaves"]]
    hashes = [leaf_hash(leaf) for leaf in leaves]
    assert hashes == raw(case["leaf_hashes"])
    for tree in (StandardTree(hashes), make_tree(leaves)):
        assert tree.root == raw(case["root"])
        assert [list(tree.proof(i)) for i in range(len(leaves))] == raw(case["proofs"])
    for digest, proof in zip(hashes, raw(case["proofs"]), strict=True):
        verify(raw(case["root"]), digest, proof)


def test_standard_trees():
    document = load("standard_tree")
    assert commitment.rewards_tree([]).root == raw(document["empty_root"])
    for kind in LEAVES:
        for case in document[kind]:
            check_tree(kind, case)


def test_trees_made_by_openzeppelin():
    trees = load("openzeppelin")["trees"]
    assert len(trees) == 27
    for case in trees:
        check_tree(case["tree"], case)


def test_signatures():
    document = load("signing")
    stored = document["domain"]
    domain = SigningDomain(stored["chain_id"], stored["verifying_contract"])
    signed = []
    for case in document["cases"]:
        fields = case["message"].values()
        message = UpdateMessage(*[raw(v) if isinstance(v, str) else v for v in fields])
        signed.append(sign_statement(domain, message, raw(case["private_key"])))
        assert signed[-1] == Signed(case["address"], message, raw(case["signature"]))
        assert statement_digest(domain, message) == raw(case["digest"])
        assert commitment.metrics_hash(case["metrics"]) == message.metrics_hash
        found = commitment.signature_hash(message.metrics_hash, signed[-1].signature)
        assert found == raw(case["signature_hash"])
        sealed = sealed_commitment(
            domain, message.round_id, case["address"], raw(case["salt"]), message.update
        )
        assert sealed == raw(case["sealed_commitment"])
    for bad in document["refused"]:
        base = signed[bad["case"]]
        forged = Signed(base.signer, base.statement, raw(bad["signature"]))
        with pytest.raises(SignatureError) as caught:
            verify_statement(domain, forged)
        assert caught.value.code == bad["code"]


def test_statements():
    document = load("signing")
    domain = SigningDomain(*list(document["domain"].values())[:2])
    kinds = {
        "Presence": Presence,
        "Commitment": Commitment,
        "Read": ReadRequest,
        "Instruction": RoundInstruction,
    }
    assert len(document["statements"]) == 4 * len(document["cases"])
    for case in document["statements"]:
        fields = [raw(v) if len(v) == 64 else int(v) for v in case["message"].values()]
        statement = kinds[case["type"]](*fields)
        signed = sign_statement(domain, statement, raw(case["private_key"]))
        assert signed == Signed(case["address"], statement, raw(case["signature"]))
        assert statement_digest(domain, statement) == raw(case["digest"])
        assert recover_signer(domain, signed) == case["address"]


def test_rules():
    for case in load("rule")["cases"]:
        fields = {k: raw(v) if k.endswith("_hash") else int(v) for k, v in case["rule"].items()}
        assert commitment.rule_hash(Rule(**fields)) == raw(case["rule_hash"])


def test_weights():
    for case in load("weights")["cases"]:
        assert apportion([int(s) for s in case["shares"]], case["addresses"]) == case["weights"]


def test_aggregates():
    for case in load("aggregation")["cases"]:
        updates = [np.array(row, np.int32) for row in case["updates"]]
        mean = aggregation.weighted_mean(updates, case["weights"])
        assert mean.tolist() == case["weighted_mean"]
        assert aggregation.median(updates).tolist() == case["median"]
        for f, expected in case["trimmed_mean"].items():
            found = aggregation.trimmed_mean(updates, num_byzantine=int(f))
            assert found.tolist() == expected


def verifier(folder):
    return subprocess.run(
        [sys.executable, str(VERIFIER), str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_independent_verifier_agrees():
    result = verifier(VECTORS)
    assert result.returncode == 0, result.stderr
    counts = dict(line.split(": ") for line in result.stdout.splitlines())
    assert len(counts) == 11
    assert counts["openzeppelin"] == "174 hold"


@pytest.mark.parametrize(
    "name",
    [
        "aggregation",
        "canonical_json",
        "fixedpoint",
        "manifest",
        "merkle",
        "openzeppelin",
        "parameter_tree",
        "rule",
        "signing",
        "standard_tree",
        "weights",
    ],
)
def test_the_independent_verifier_finds_one_changed_digit(name, tmp_path):
    for path in VECTORS.glob("*.json"):
        shutil.copy(path, tmp_path)
    target = tmp_path / f"{name}.json"
    document = json.loads(target.read_text())
    keys = {
        "aggregation": "weighted_mean",
        "canonical_json": "sha256",
        "fixedpoint": "integers",
        "manifest": "sha256",
        "rule": "rule_hash",
        "signing": "signature_hash",
        "weights": "weights",
    }
    cases = document.get("cases") or document.get("trees") or document["rewards"]
    case, key = cases[-1], keys.get(name, "root")
    if isinstance(case[key], list):
        case[key][-1] += 1
    else:
        case[key] = case[key][:-1] + ("0" if case[key][-1] != "0" else "1")
    target.write_text(json.dumps(document))
    result = verifier(tmp_path)
    assert result.returncode == 1
    assert f"{name}.json: found" in result.stderr


def test_the_independent_verifier_is_small_and_independent():
    text = VERIFIER.read_text()
    assert len(text.splitlines()) < 150
    for package in ("coordinator", "contracts", "clients", "simulations", "numpy"):
        assert f"import {package}" not in text
        assert f"from {package}" not in text
