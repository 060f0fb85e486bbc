"""The golden vectors, through the bytecode: the deployed examiners judge them, and the modules.

A stand-in for the federation (``sources/stand_in.vy``) holds the vectors' roots; the federation
itself stands at the address that the vectors' signing domain names.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chains import bare_chain
from eth_abi import encode
from eth_utils import keccak
from federation_world import TERMS, helper_artifact
from pyrevm import AccountInfo
from revm_chain import RevmNode

from contracts.binding.artifacts import load_artifact
from contracts.binding.calls import Call
from contracts.node.genesis import GenesisConfig
from coordinator.protocol.commitments.digests import rule_hash
from coordinator.protocol.errors import TransactionRevertedError
from coordinator.protocol.types import Address, Rule, Wei

VECTORS = Path(__file__).parents[2] / "vectors"
SENDER = "0x" + "00" * 18 + "1234"
EMPTY = bytes(32)
NEW_MODEL = 8
FRAUD, NO_CONTRIBUTOR = "", "dispute: no such contributor"
UNIFORM_RULE = (1, 1, 2, 0, 1, 1 << 16, 0, EMPTY, 1, 1, 20, 1, 0, EMPTY)


def vectors(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text())
    return found


def raw(text: str) -> bytes:
    return bytes.fromhex(text)


def flipped(digest: bytes) -> bytes:
    return digest[:-1] + bytes([digest[-1] ^ 1])


def rule_words(**changes: Any) -> tuple[Any, ...]:
    """By examples, of four parameters in chunks of two, unless changed."""
    fields: dict[str, Any] = {
        "version": 1,
        "kind": 1,
        "weighting": 1,
        "num_byzantine": 0,
        "examples_cap": 2**40 - 1,
        "server_lr_q16": 1 << 16,
        "server_momentum_q16": 0,
        "manifest_hash": EMPTY,
        "dimension": 4,
        "chunk_values": 2,
        "scale_bits": 20,
        "min_contributors": 1,
        "norm_bound_q": 0,
        "scoring_hash": EMPTY,
    }
    return tuple({**fields, **changes}.values())


class Bench:
    """The stand-in, the examiners that ask it, and the federation of the signing vectors."""

    def __init__(self) -> None:
        node, _, _ = bare_chain(GenesisConfig(alloc={}))
        assert isinstance(node, RevmNode)
        self.node = node
        self.stand_in = self.deploy(helper_artifact("stand_in").creation_code(()))
        self.records, self.aggregates = (
            self.deploy(load_artifact(name).creation_code((self.stand_in,)))
            for name in ("record_examiner", "aggregate_examiner")
        )
        self.federation = vectors("signing")["domain"]["verifying_contract"]
        self.place(self.federation, load_artifact("federation").creation_code([TERMS.to_abi()]))

    def deploy(self, code: bytes) -> Address:
        created, _ = self.node.execute(SENDER, None, Call("deploy", code, Wei(0), 0, "deploy"))
        return Address("0x" + created.hex())

    def place(self, address: str, creation: bytes) -> None:
        """Run a constructor at a chosen address and leave its code there."""
        self.node.evm.insert_account_info(address, AccountInfo(code=creation))
        runtime = self.node.evm.message_call(SENDER, address, b"")
        self.node.evm.insert_account_info(address, AccountInfo(code=bytes(runtime)))
        assert bytes(self.node.evm.get_code(address) or b"") == bytes(runtime)

    def view(self, function: str, *arguments: Any) -> Any:
        abi = helper_artifact("stand_in").functions[function]
        return abi.decode_result(self.node.call(self.stand_in, abi.encode_call(arguments)))[0]

    def federation_view(self, function: str, *arguments: Any) -> Any:
        abi = load_artifact("federation").functions[function]
        return abi.decode_result(self.node.call(self.federation, abi.encode_call(arguments)))[0]

    def set_round(self, **roots: Any) -> None:
        fields: dict[str, Any] = {
            "digests": self.federation,
            "rule_hash": self.rule_hash(UNIFORM_RULE),
            "model_root": EMPTY,
            "contributors_root": EMPTY,
            "n": 2**20,
            "total_examples": 0,
            "new_model_root": EMPTY,
            "scores_root": EMPTY,
            "rewards_root": EMPTY,
        }
        assert set(roots) <= set(fields)
        self.set("set_round", *{**fields, **roots}.values())

    def set(self, function: str, *arguments: Any) -> None:
        data = helper_artifact("stand_in").functions[function].encode_call(arguments)
        self.node.execute(SENDER, self.stand_in, Call(function, data, Wei(0), 10**7, function))

    @staticmethod
    def rule_hash(words: tuple[Any, ...]) -> bytes:
        return rule_hash(Rule(*words))

    def examine(self, function: str, *arguments: Any) -> str:
        """Let the examiner that has it judge; the reason for refusing, empty for its verdict."""
        for name, examiner in (
            ("record_examiner", self.records),
            ("aggregate_examiner", self.aggregates),
        ):
            abi = load_artifact(name).functions.get(function)
            if abi is None:
                continue
            data = abi.encode_call(arguments)
            try:
                assert len(self.view("examine", examiner, data)) == 128
            except TransactionRevertedError as reverted:
                return reverted.reason
            return ""
        raise AssertionError(f"no examiner has {function}")


@pytest.fixture(scope="module")
def _bench() -> Bench:
    return Bench()


@pytest.fixture
def bench(_bench: Bench) -> Iterator[Bench]:
    snapshot = _bench.node.snapshot()
    yield _bench
    _bench.node.revert(snapshot)


# --- trees ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", vectors("merkle")["cases"], ids=lambda c: str(len(c["leaves"])))
def test_audit_paths_lead_to_the_root(bench: Bench, case: dict[str, Any]) -> None:
    leaves, size = [raw(leaf) for leaf in case["leaves"]], len(case["leaves"])
    for index, (leaf, proof) in enumerate(zip(leaves, case["proofs"], strict=True)):
        path = [raw(digest) for digest in proof]
        assert bench.view("audit", leaf, index, size, path) == raw(case["root"])
        assert bench.view("audit", leaf + b"x", index, size, path) != raw(case["root"])
        with pytest.raises(TransactionRevertedError, match="dispute: proof too long"):
            bench.view("audit", leaf, index, size, [*path, EMPTY])


@pytest.mark.parametrize(
    "case", vectors("parameter_tree")["cases"], ids=lambda c: f"{len(c['values'])}"
)
def test_chunks_are_of_the_vector(bench: Bench, case: dict[str, Any]) -> None:
    words = rule_words(
        manifest_hash=raw(case["manifest_digest"]),
        dimension=len(case["values"]),
        chunk_values=case["chunk_values"],
    )
    bench.set_round(rule_hash=bench.rule_hash(words), new_model_root=raw(case["root"]))
    for chunk, proof in enumerate(case["proofs"]):
        bench.set("set_case", NEW_MODEL, chunk)
        data, path = raw(proof["chunk"]), [raw(digest) for digest in proof["siblings"]]

        def judged(chunk: bytes, path: list[bytes]) -> str:
            return bench.examine("answer_model_chunk", 1, NEW_MODEL, words, chunk, path)

        assert judged(data, path) == ""
        assert judged(flipped(data), path) == "dispute: no such chunk"
        if path:
            assert judged(data, [flipped(path[0]), *path[1:]]) == "dispute: no such chunk"
    # The dimension is bound: the same chunks of a longer vector are another root.
    if len(case["values"]) % case["chunk_values"]:
        longer = rule_words(
            manifest_hash=raw(case["manifest_digest"]),
            dimension=len(case["values"]) + 1,
            chunk_values=case["chunk_values"],
        )
        bench.set_round(rule_hash=bench.rule_hash(longer), new_model_root=raw(case["root"]))
        answer = (1, NEW_MODEL, longer, data, path)
        assert bench.examine("answer_model_chunk", *answer) == "dispute: no such chunk"


def leaf_words(leaf: dict[str, Any]) -> tuple[Any, ...]:
    """A vector's leaf in the order of the contract's struct."""
    numbers = {"stake_wei", "cumulative_wei"}
    digests = {"update_root", "signature_hash"}
    return tuple(int(v) if k in numbers else raw(v) if k in digests else v for k, v in leaf.items())


def leaves_of(kind: str) -> Iterator[tuple[bytes, tuple[Any, ...], list[bytes]]]:
    """Root, leaf and proof of each leaf of each tree of a kind."""
    for case in vectors("standard_tree")[kind]:
        for leaf, proof in zip(case["leaves"], case["proofs"], strict=True):
            yield raw(case["root"]), leaf_words(leaf), [raw(digest) for digest in proof]


def test_contributors_are_in_their_tree(bench: Bench) -> None:
    for root, leaf, proof in leaves_of("contributors"):
        bench.set_round(contributors_root=root)

        def judged(leaf: tuple[Any, ...], proof: list[bytes]) -> str:
            return bench.examine("challenge_leaf", 9, UNIFORM_RULE, leaf, proof)

        # Found in the tree; that the weight is not uniform is then a fraud.
        assert judged(leaf, proof) == FRAUD
        assert judged((*leaf[:4], leaf[4] + 1, *leaf[5:]), proof) == NO_CONTRIBUTOR
        assert judged(leaf, [*proof, EMPTY]) == NO_CONTRIBUTOR


def test_scores_are_in_their_tree(bench: Bench) -> None:
    for root, leaf, proof in leaves_of("scores"):
        bench.set_round(scores_root=root)
        number, who, score = leaf
        form = "challenge_score_form"
        assert bench.examine(form, number, leaf, proof) == "dispute: score is right"
        other = (number, who, score + 1)
        assert bench.examine(form, number, other, proof) == "dispute: no such score"


def test_rewards_are_in_their_tree(bench: Bench) -> None:
    for root, (who, cumulative), proof in leaves_of("rewards"):
        bench.set_round(rewards_root=root)
        outsider = "challenge_outsider"
        assert bench.examine(outsider, 9, who, cumulative, proof) == "dispute: is a member"
        found = bench.examine(outsider, 9, who, cumulative + 1, proof)
        assert found == "dispute: no such reward"


# --- the rule and weights -------------------------------------------------------------------------


@pytest.mark.parametrize("case", vectors("rule")["cases"], ids=lambda c: c["rule_hash"][:8])
def test_rules_hash_to_what_is_committed(bench: Bench, case: dict[str, Any]) -> None:
    fields = {**case["rule"], "norm_bound_q": int(case["rule"]["norm_bound_q"])}
    digests = {name: raw(fields[name]) for name in ("manifest_hash", "scoring_hash")}
    words = tuple({**fields, **digests}.values())
    bench.set_round(rule_hash=raw(case["rule_hash"]))
    assert bench.examine("challenge_rule", 1, words) == "dispute: rule is right"
    for at, word in enumerate(words):
        other = flipped(word) if isinstance(word, bytes) else word ^ 1
        changed = (*words[:at], other, *words[at + 1 :])
        assert bench.examine("challenge_rule", 1, changed) == "dispute: wrong rule"


def test_weights_are_floor_or_ceiling_of_their_quota(bench: Bench) -> None:
    tried = 0
    for case in vectors("weights")["cases"]:
        shares = [int(share) for share in case["shares"]]
        if max(shares) >= 2**40 or not sum(shares):
            continue  # more than any cap of examples lets through
        words = rule_words()
        for who, share, weight in zip(case["addresses"], shares, case["weights"], strict=True):
            exact = share * 2**24 % sum(shares) == 0
            wrong = [weight + 2, weight - 2] + ([weight + 1, weight - 1] if exact else [])
            for given in [weight, *(w for w in wrong if w >= 0)]:
                leaf = (1, 0, who, EMPTY, share, given, 10**18, EMPTY)
                bench.set_round(
                    rule_hash=bench.rule_hash(words),
                    contributors_root=leaf_hash(leaf),
                    n=len(shares),
                    total_examples=sum(shares),
                )
                found = bench.examine("challenge_leaf", 1, words, leaf, [])
                assert found == ("dispute: leaf is right" if given == weight else FRAUD)
            tried += 1
    assert tried >= 20


def leaf_hash(leaf: tuple[Any, ...]) -> bytes:
    """A tree of one leaf; written here from the protocol."""
    kinds = ("uint64", "uint32", "address", "bytes32", "uint64", "uint32", "uint256", "bytes32")
    return keccak(keccak(encode(kinds, leaf)))


# --- signatures -----------------------------------------------------------------------------------


def test_the_domain_is_the_vectors(bench: Bench) -> None:
    domain = vectors("signing")["domain"]
    assert bench.federation_view("domain_separator") == raw(domain["separator"])


def signed_leaf(case: dict[str, Any], **changes: Any) -> tuple[Any, ...]:
    message = case["message"]
    fields = {
        "round_id": message["round_id"],
        "index": 0,
        "contributor": case["address"],
        "update_root": raw(message["update"]),
        "examples": message["examples"],
        "weight": 1,
        "stake_wei": 0,
        "signature_hash": raw(case["signature_hash"]),
    }
    return tuple({**fields, **changes}.values())


@pytest.mark.parametrize("case", vectors("signing")["cases"], ids=lambda c: c["address"][:8])
def test_signatures_are_the_contributors(bench: Bench, case: dict[str, Any]) -> None:
    message = case["message"]
    words = (
        *(message["round_id"], raw(message["base_model"]), raw(message["update"])),
        *(message["examples"], raw(message["metrics_hash"])),
    )
    assert bench.federation_view("update_digest", words) == raw(case["digest"])

    def judged(leaf: tuple[Any, ...], signature: bytes) -> str:
        bench.set_round(contributors_root=leaf_hash(leaf), model_root=raw(message["base_model"]))
        evidence = (leaf, [], raw(message["metrics_hash"]), signature)
        return bench.examine("challenge_signature", message["round_id"], *evidence)

    signature = raw(case["signature"])
    assert judged(signed_leaf(case), signature) == "dispute: signature is right"
    assert judged(signed_leaf(case, examples=message["examples"] ^ 1), signature) == FRAUD
    assert judged(signed_leaf(case, contributor="0x" + "11" * 20), signature) == FRAUD
    assert judged(signed_leaf(case), flipped(signature)) == "dispute: other signature"


@pytest.mark.parametrize("refused", vectors("signing")["refused"], ids=lambda r: r["code"])
def test_refused_signatures_are_fraud(bench: Bench, refused: dict[str, Any]) -> None:
    case = vectors("signing")["cases"][refused["case"]]
    message, signature = case["message"], raw(refused["signature"])
    leaf = signed_leaf(case, signature_hash=keccak(raw(message["metrics_hash"]) + signature))
    bench.set_round(contributors_root=leaf_hash(leaf), model_root=raw(message["base_model"]))
    evidence = (leaf, [], raw(message["metrics_hash"]), signature)
    assert bench.examine("challenge_signature", message["round_id"], *evidence) == FRAUD


# --- arithmetic -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case", vectors("aggregation")["cases"], ids=lambda c: str(len(c["weights"]))
)
def test_columns_come_to_what_the_rule_gives(bench: Bench, case: dict[str, Any]) -> None:
    columns, n = list(zip(*case["updates"], strict=True)), len(case["weights"])

    def came_to(column: tuple[int, ...], f: int, **rule: int) -> int:
        kept = sorted(column)[f : n - f]
        words = rule_words(num_byzantine=f if rule["kind"] == 3 else 0, **rule)
        found: int = bench.view("aggregate", words, kept[0], kept[-1], column, case["weights"])
        return found

    for i, column in enumerate(columns):
        assert came_to(column, 0, kind=1) == case["weighted_mean"][i]
        assert came_to(column, (n - 1) // 2, kind=2) == case["median"][i]
        for f, means in case["trimmed_mean"].items():
            assert came_to(column, int(f), kind=3) == means[i]


def test_steps_follow_from_the_aggregate(bench: Bench) -> None:
    """The server's learning rate; momentum is not judged on chain."""
    for case in vectors("aggregation")["cases"]:
        server = case["server"]
        words = rule_words(server_lr_q16=server["lr_q16"])
        rows = (server["model"], server["velocity_after"], server["new_model"])
        for base, moved_by, new in zip(*rows, strict=True):
            assert bench.view("follows", words, base, moved_by, new)
            assert not bench.view("follows", words, base, moved_by, new + 1)


def test_payments_are_floored_shares(bench: Bench) -> None:
    for case in vectors("incentives")["splits"]:
        total = sum(case["scores"])
        for score, share in zip(case["scores"], case["shares_wei"], strict=True):
            assert bench.view("payment", int(case["budget_wei"]), score, total) == int(share)
