"""Check the golden vectors from the written protocol alone; imports nothing of this project.

``python independent_verifier.py [FOLDER]``: a line a file, exit status 0 only if all of it holds.
Every checker yields pairs that must be equal: what the protocol gives, what the file says.
"""

import json
import sys
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

from coincurve import PublicKey
from sha3 import keccak_256

TYPES = """EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)
Update(uint64 round,bytes32 baseModel,bytes32 update,uint64 examples,bytes32 metricsHash)
Presence(uint64 nodeId,uint64 expiry)
Commitment(uint64 round,bytes32 commitment)
Read(bytes32 blob,uint64 expiry)
Instruction(uint64 round,uint8 phase,bytes32 baseModel,bytes32 ruleHash,\
uint64 deadline,bytes32 content)"""
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


sha, kec = (lambda *parts, f=f: f(b"".join(parts)).digest() for f in (sha256, keccak_256))


def raw(text):
    is_list = isinstance(text, list)
    return list(map(raw, text)) if is_list else bytes.fromhex(text.removeprefix("0x"))


def words(values):  # one ABI word for each digest, address, integer or decimal string
    is_hex = [isinstance(v, str) and (v[:2] == "0x" or len(v) == 64) for v in values]
    parts = [raw(v) if h else int(v).to_bytes(32) for v, h in zip(values, is_hex, strict=True)]
    return b"".join(part.rjust(32, b"\0") for part in parts)


def rfc_tree(leaves):  # the root, and every leaf's proof
    if len(leaves) == 1:
        return sha(b"\0", leaves[0]), [[]]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    (left, before), (right, after) = rfc_tree(leaves[:split]), rfc_tree(leaves[split:])
    return sha(b"\1", left, right), [[*p, right] for p in before] + [[*p, left] for p in after]


def merkle(doc):
    for case in doc["cases"]:
        yield rfc_tree(raw(case["leaves"])), (raw(case["root"]), raw(case["proofs"]))


def parameter_tree(doc):
    for case in doc["cases"]:
        size, d = 4 * case["chunk_values"], len(case["values"])
        flat = b"".join(v.to_bytes(4, signed=True) for v in case["values"])
        chunks = [flat[i : i + size].ljust(size, b"\0") for i in range(0, 4 * d, size)]
        top, proofs = rfc_tree(chunks)
        yield sha(b"\2", raw(case["manifest_digest"]), top, d.to_bytes(8)), raw(case["root"])
        yield chunks, [raw(proof["chunk"]) for proof in case["proofs"]]
        yield proofs, [raw(proof["siblings"]) for proof in case["proofs"]]


def standard_tree(doc):
    for case in doc.get("trees") or [c for v in doc.values() if type(v) is list for c in v]:
        rows = (row.values() if isinstance(row, dict) else row for row in case["leaves"])
        leaves = [kec(kec(words(row))) for row in rows]
        nodes = [b""] * (len(leaves) - 1) + leaves[::-1]
        for i in reversed(range(len(leaves) - 1)):
            nodes[i] = kec(*sorted(nodes[2 * i + 1 : 2 * i + 3]))
        yield (leaves, nodes[0]), (raw(case["leaf_hashes"]), raw(case["root"]))
        for digest, proof in zip(leaves, raw(case["proofs"]), strict=True):
            for sibling in proof:
                digest = kec(*sorted([digest, sibling]))
            yield digest, nodes[0]


def recover(digest, signature):
    s, v = int.from_bytes(signature[32:64]), signature[64:]
    if v not in (b"\x1b", b"\x1c") or not 0 < s <= ORDER // 2 or not any(signature[:32]):
        return None
    rsv = signature[:64] + bytes([v[0] - 27])
    point = PublicKey.from_signature_and_message(rsv, digest, hasher=None)
    return kec(point.format(compressed=False)[1:])[12:]


def signing(doc):
    types = {text.split("(")[0]: kec(text.encode()) for text in TYPES.splitlines()}
    fields = words([doc["domain"]["chain_id"], doc["domain"]["verifying_contract"]])
    separator = kec(types["EIP712Domain"], kec(b"Fedproof"), kec(b"1"), fields)
    for case in doc["cases"] + doc["statements"]:
        message, signature = case["message"], raw(case["signature"])
        digest = kec(b"\x19\x01", separator, kec(types[case["type"]], words(message.values())))
        yield (digest, recover(digest, signature)), (raw(case["digest"]), raw(case["address"]))
        if case["type"] == "Update":
            sealed = [message["round_id"], case["address"], case["salt"], message["update"]]
            yield kec(raw(message["metrics_hash"]), signature), raw(case["signature_hash"])
            yield kec(separator, words(sealed)), raw(case["sealed_commitment"])
    for case, bad in ((doc["cases"][bad["case"]], bad) for bad in doc["refused"]):
        yield recover(raw(case["digest"]), raw(bad["signature"])) == raw(case["address"]), False


def rule(doc):
    yield from ((kec(words(c["rule"].values())), raw(c["rule_hash"])) for c in doc["cases"])


def texts(doc):  # manifests and other canonical JSON
    for case in doc["cases"]:
        value = case.get("value", json.loads(case["json"]))
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
        yield (text, sha(text.encode())), (case["json"], raw(case["sha256"]))


def fixedpoint(doc):
    for case in doc["cases"]:
        scaled = [Fraction(float.fromhex(v)) * 2 ** case["scale_bits"] for v in case["values"]]
        yield list(map(round, scaled)), case["integers"]  # round() takes halves to even


def weights(doc):
    for case in doc["cases"]:
        total, names = sum(map(int, case["shares"])), raw(case["addresses"])
        quotas = [Fraction(int(share) << 24, total) for share in case["shares"]]
        ranked = sorted((-(quota % 1), name) for quota, name in zip(quotas, names, strict=True))
        lucky = {name for _, name in ranked[: 2**24 - sum(map(int, quotas))]}
        yield [int(q) + (n in lucky) for q, n in zip(quotas, names, strict=True)], case["weights"]


def aggregation(doc):
    for case in doc["cases"]:
        for i, column in enumerate(zip(*case["updates"], strict=True)):
            dot = sum(w * u for w, u in zip(case["weights"], column, strict=True))
            yield (dot + 2**23) >> 24, case["weighted_mean"][i]
            for f, means in case["trimmed_mean"].items():
                kept = sorted(column)[int(f) : len(column) - int(f)]
                yield (2 * sum(kept) + len(kept)) // (2 * len(kept)), means[i]
            yield means[i], case["median"][i]  # the largest f leaves the middle


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    own = (aggregation, fixedpoint, merkle, parameter_tree, rule, signing, standard_tree, weights)
    other = {"canonical_json": texts, "manifest": texts, "openzeppelin": standard_tree}
    for file, check in ({check.__name__: check for check in own} | other).items():
        pairs = list(check(json.loads((folder / f"{file}.json").read_text())))
        if wrong := [pair for pair in pairs if pair[0] != pair[1]]:
            sys.exit(f"{file}.json: found {wrong[0][1]}, expected {wrong[0][0]}")
        print(f"{file}: {len(pairs)} hold")
