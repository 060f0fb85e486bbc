"""Sealed rounds through the service, on fakes and on the real chain and disk alike."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from memory_ledger import MemoryJournal, MemoryLedger, MemoryStore
from service_bench import INITIAL, MANIFEST, Bench, round_status, rule, salt, vector

from coordinator.audit.verify.findings import Findings
from coordinator.audit.verify.round_audit import RoundAuditor
from coordinator.audit.verify.scoring import scorer_of
from coordinator.ports import RoundAnnouncement
from coordinator.protocol.commitments.digests import commitment_leaf_hash
from coordinator.protocol.commitments.documents import (
    commitments_document,
    contributor_entries,
    contributors_document,
    name_of,
)
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.commitments.standard_tree import hash_pair
from coordinator.protocol.equivocation import EquivocationError
from coordinator.protocol.errors import ContributorError, PhaseError
from coordinator.protocol.round.machine import Phase
from coordinator.protocol.signatures.eip712 import address_of_key
from coordinator.protocol.types import (
    Address,
    CommitmentLeaf,
    RoundId,
    SigningDomain,
    Wei,
    address_bytes,
)
from coordinator.service.round_service import RoundService
from simulations.run.identities import private_key

FIRST = RoundId(1)


def who(bench: Bench, client: int) -> Address:
    return address_of_key(bench.keys[client])


def gather(bench: Bench, service: RoundService, *values: int) -> RoundAnnouncement:
    """Open a round in which client ``i`` commits to an update full of ``values[i]``."""
    announced = service.open_round()
    for client, value in enumerate(values):
        service.commit(bench.commitment(client, announced, vector(value)))
    return announced


def reveal(
    bench: Bench, service: RoundService, announced: RoundAnnouncement, client: int, value: int
) -> None:
    service.submit(*bench.signed(client, announced, vector(value)), salt(client))


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(ContributorError) as refused:
        action()
    return refused.value.code


def test_commitments_are_on_chain_before_updates_and_open_to_them(bench: Bench) -> None:
    service = bench.service(rule(), sealed=True)
    announced = gather(bench, service, 100, 200)
    assert (announced.sealed, announced.commitments) == (True, None)
    assert bench.ledger.round(FIRST).commitments_root == bytes(32)
    document = service.close_commitments()
    committed = bench.ledger.round(FIRST)
    leaves = [
        commitment_leaf_hash(
            CommitmentLeaf(
                FIRST,
                who(bench, client),
                bench.commitment(client, announced, vector(value)).statement.commitment,
            )
        )
        for client, value in ((0, 100), (1, 200))
    ]
    # of two leaves the tree's root is their sorted pair
    assert committed.commitments_root == hash_pair(*leaves)
    assert committed.commitments_count == 2
    assert document == bench.store.get_document("commitments", committed.commitments_root)
    for client, value in ((0, 100), (1, 200)):
        reveal(bench, service, announced, client, value)
    outcome = service.close_round()
    np.testing.assert_array_equal(outcome.model, INITIAL + 150)
    final = bench.ledger.round(FIRST)
    assert (final.status.word, final.n, final.paid_wei) == ("final", 2, 1000)
    entries = contributor_entries(bench.store.get_document("contributors", final.contributors_root))
    assert {e.leaf.contributor: e.salt for e in entries} == {
        who(bench, client): salt(client) for client in (0, 1)
    }


def test_each_phase_refuses_what_belongs_to_the_other(bench: Bench) -> None:
    service = bench.service(rule(), sealed=True)
    announced = gather(bench, service, 1, 2, 3)
    assert code_of(lambda: reveal(bench, service, announced, 0, 1)) == "early-update"
    service.close_commitments()
    late = bench.commitment(3, announced, vector(4))
    assert code_of(lambda: service.commit(late)) == "late-commitment"
    assert code_of(lambda: reveal(bench, service, announced, 3, 4)) == "not-committed"
    assert code_of(lambda: reveal(bench, service, announced, 2, 4)) == "commitment-mismatch"
    signed = bench.signed(1, announced, vector(2))
    assert code_of(lambda: service.submit(*signed, salt(0))) == "commitment-mismatch"
    assert code_of(lambda: service.submit(*signed)) == "commitment-mismatch"
    for client, value in ((0, 1), (1, 2)):
        reveal(bench, service, announced, client, value)
    outcome = service.close_round()
    assert outcome.accepted == sorted((who(bench, 0), who(bench, 1)), key=address_bytes)
    assert sorted(r.code for r in outcome.refusals) == [
        *["commitment-mismatch"] * 3,
        *("early-update", "late-commitment", "not-committed"),
    ]


def test_somebody_elses_commitment_opens_to_nothing(bench: Bench) -> None:
    service = bench.service(rule(), sealed=True)
    announced = gather(bench, service, 1, 2)
    stolen = bench.commitment(0, announced, vector(1)).statement.commitment
    service.commit(bench.commitment(2, announced, vector(1), commitment=stolen))
    service.close_commitments()
    for client in (0, 1):
        reveal(bench, service, announced, client, client + 1)
    copied = bench.signed(2, announced, vector(1))
    for opened_with in (salt(0), salt(2)):
        assert code_of(lambda: service.submit(*copied, opened_with)) == "commitment-mismatch"  # noqa: B023
    assert who(bench, 2) not in service.close_round().accepted


def test_of_two_different_commitments_neither_counts(bench: Bench) -> None:
    service = bench.service(rule(), sealed=True)
    announced = gather(bench, service, 1, 2, 3)
    service.commit(bench.commitment(0, announced, vector(1)))  # an equal repeat
    other = bench.commitment(0, announced, vector(9))
    assert code_of(lambda: service.commit(other)) == "conflicting-commitment"
    again = bench.commitment(0, announced, vector(1))
    assert code_of(lambda: service.commit(again)) == "conflicting-commitment"
    assert service.state.conflicted == {who(bench, 0)}
    service.close_commitments()
    assert bench.ledger.round(FIRST).commitments_count == 2
    assert code_of(lambda: reveal(bench, service, announced, 0, 1)) == "not-committed"
    assert not bench.ledger.is_equivocation_slashed(FIRST, who(bench, 0))


@pytest.mark.parametrize("order", [(1, 9), (9, 1)])
def test_two_signed_updates_cost_the_bond_in_whatever_order_they_come(
    bench: Bench, order: tuple[int, int]
) -> None:
    """The second one opens no commitment, but it was signed."""
    service = bench.service(rule(), sealed=True)
    announced = gather(bench, service, 1, 2, 3)
    service.close_commitments()
    for client in (1, 2):
        reveal(bench, service, announced, client, client + 1)
    first, second = order
    if first == 1:
        reveal(bench, service, announced, 0, first)
    else:
        assert code_of(lambda: reveal(bench, service, announced, 0, 9)) == "commitment-mismatch"
    with pytest.raises(EquivocationError):
        reveal(bench, service, announced, 0, second)
    outcome = service.close_round()
    assert len(outcome.accepted) == 2
    assert bench.ledger.is_equivocation_slashed(FIRST, who(bench, 0))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"round_id": 2}, "wrong-round"),
        ({"round_id": -1}, "malformed-message"),
        ({"commitment": b"\1"}, "malformed-message"),
    ],
)
def test_a_bad_commitment_is_refused_by_name(
    bench: Bench, changes: dict[str, object], code: str
) -> None:
    service = bench.service(rule(), sealed=True)
    announced = service.open_round()
    signed = bench.commitment(0, announced, vector(1))
    forged = replace(signed, statement=replace(signed.statement, **changes))
    assert code_of(lambda: service.commit(forged)) == code
    nobody = replace(signed, signer=Address(bench.ledger.domain().verifying_contract))
    assert code_of(lambda: service.commit(nobody)) == "not-bonded"
    claimed = replace(signed, signer=who(bench, 1))
    assert code_of(lambda: service.commit(claimed)) == "wrong-signer"
    assert [r.sender.endswith("(unproven)") for r in service.state.refusals] == [True] * 3


def test_too_few_commitments_void_the_round(bench: Bench) -> None:
    service = bench.service(rule(), sealed=True)
    gather(bench, service, 1)
    assert service.close_commitments() is None
    outcome = service.close_round()
    assert (outcome.status, outcome.reason) == ("void", "too few commitments: 1 of 2")
    assert round_status(bench, 1) == "void"
    announced = gather(bench, service, 1, 2)
    assert announced.round_id == 2
    assert service.close_commitments() is not None


def test_committed_but_not_revealed_is_too_few_updates(bench: Bench) -> None:
    service = bench.service(rule(), sealed=True)
    announced = gather(bench, service, 1, 2, 3)
    service.close_commitments()
    reveal(bench, service, announced, 2, 3)
    outcome = service.close_round()
    assert (outcome.status, outcome.reason) == ("void", "too few updates: 1 of 2")


def test_a_restart_after_the_commitments_goes_on_with_the_updates(
    make_bench: Callable[[], Bench],
) -> None:
    bench = make_bench()
    service = bench.service(rule(), sealed=True)
    first = gather(bench, service, 1, 2)
    service.refuse("node 9", RuntimeError("what is this"))
    document = service.close_commitments()
    reveal(bench, service, first, 0, 1)  # acknowledged to nobody: lost with the process
    bench = make_bench()
    service = bench.service(rule(), sealed=True)
    second = service.open_round()
    assert (second.round_id, second.commitments) == (1, document)
    assert service.state.phase is Phase.COLLECTING
    with pytest.raises(PhaseError, match="CommitmentsClosed is not allowed"):
        service.close_commitments()
    service.refuse("node 9", RuntimeError("nothing to reveal"))
    for client, value in ((0, 1), (1, 2)):
        reveal(bench, service, second, client, value)
    outcome = service.close_round()
    assert outcome.status == "sealed"
    assert [(r.sender, r.code) for r in outcome.refusals] == [("node 9", "unreadable")]


def test_a_restart_before_they_are_on_chain_gathers_again(
    make_bench: Callable[[], Bench],
) -> None:
    bench = make_bench()
    gather(bench, bench.service(rule(), sealed=True), 1, 2)
    bench = make_bench()
    service = bench.service(rule(), sealed=True)
    announced = gather(bench, service, 1, 2)
    assert (announced.round_id, announced.commitments) == (1, None)
    assert service.close_commitments() is not None


def test_an_open_federation_takes_no_commitments(bench: Bench) -> None:
    service = bench.service(rule())
    announced = service.open_round()
    assert (announced.sealed, announced.commitments) == (False, None)
    with pytest.raises(PhaseError, match="takes no commitments"):
        service.commit(bench.commitment(0, announced, vector(1)))
    with pytest.raises(PhaseError, match="CommitmentsClosed is not allowed"):
        service.close_commitments()
    for client in (0, 1):  # a salt that nobody asked for is not kept
        reveal(bench, service, announced, client, 1)
    service.close_round()
    root = bench.ledger.round(FIRST).contributors_root
    entries = contributor_entries(bench.store.get_document("contributors", root))
    assert [entry.salt for entry in entries] == [None, None]


# --- deadlines: the fake's clock is the test's -----------------------------------------------


def memory_bench() -> tuple[Bench, MemoryLedger]:
    keys = [private_key(0, f"contributor {i}") for i in range(4)]
    bonds = {address_of_key(key): Wei(10**18) for key in keys}
    domain = SigningDomain(1337, address_of_key(keys[0]))
    ledger = MemoryLedger(parameter_root(INITIAL, MANIFEST), bonds, domain, Wei(1000), Wei(9000))
    return Bench(ledger, MemoryStore(), MemoryJournal(), keys), ledger


@pytest.mark.parametrize("when", ["gathering", "collecting"])
def test_a_deadline_that_passes_in_either_phase_voids_the_round(when: str) -> None:
    bench, ledger = memory_bench()
    service = bench.service(rule(), sealed=True)
    announced = gather(bench, service, 1, 2)
    if when == "collecting":
        service.close_commitments()
        for client, value in ((0, 1), (1, 2)):
            reveal(bench, service, announced, client, value)
    ledger.time = announced.deadline
    if when == "gathering":
        assert service.close_commitments() is None
    outcome = service.close_round()
    assert (outcome.status, outcome.reason) == ("void", "deadline passed")
    assert service.open_round().round_id == 2


# --- audit ----------------------------------------------------------------------------------


def audit(bench: Bench, *, sealed: bool) -> list[str]:
    """Return what an auditor of the first round finds broken."""
    findings = Findings()
    with ThreadPoolExecutor(1) as pool:
        auditor = RoundAuditor(
            bench.ledger,
            bench.store,
            findings,
            lambda used: scorer_of(used, bench.store),
            pool,
            sealed=sealed,
        )
        auditor.audit(FIRST)
    return [f"{fault.artifact}: {fault.rule}" for fault in findings.faults]


def played(bench: Bench, *, sealed: bool = True) -> None:
    service = bench.service(rule(), sealed=sealed)
    announced = service.open_round()
    if sealed:
        for client in (0, 1):
            service.commit(bench.commitment(client, announced, vector(client)))
        service.close_commitments()
    for client in (0, 1):
        reveal(bench, service, announced, client, client)
    assert service.close_round().status == "sealed"


@pytest.mark.parametrize("sealed", [True, False])
def test_an_honest_round_passes_the_audit(bench: Bench, sealed: bool) -> None:
    played(bench, sealed=sealed)
    bench.store.sync()
    assert audit(bench, sealed=sealed) == []


def test_an_open_round_of_a_sealed_federation_is_found(bench: Bench) -> None:
    played(bench, sealed=False)
    bench.store.sync()
    assert audit(bench, sealed=True) == [
        "round 1: a round of a sealed federation must have its commitments on chain"
    ]


def test_commitments_on_chain_are_checked_whatever_was_agreed(bench: Bench) -> None:
    """So that whoever does not have the agreement at hand still finds a copied update."""
    played(bench)
    bench.store.sync()
    assert audit(bench, sealed=False) == []


def forged_bench() -> tuple[Bench, MemoryLedger, MemoryStore]:
    bench, ledger = memory_bench()
    played(bench)
    assert isinstance(bench.store, MemoryStore)
    return bench, ledger, bench.store


def test_a_salt_that_was_changed_or_left_out_is_found() -> None:
    for changed in (b"\7" * 32, None):
        bench, ledger, store = forged_bench()
        root = ledger.round(FIRST).contributors_root
        entries = contributor_entries(store.get_document("contributors", root))
        entries[0] = replace(entries[0], salt=changed)
        document = contributors_document(FIRST, entries)
        assert name_of("contributors", document) == root  # the leaves do not hold it
        store.put_document("contributors", root, document)
        (found,) = audit(bench, sealed=True)
        assert found.endswith("an update must open what its contributor committed to")
        assert found.startswith(f"leaf 0 of {entries[0].leaf.contributor}")


@pytest.mark.parametrize(
    ("forge", "rule_text"),
    [
        ("missing", "commitments must hash to the committed root"),
        ("other round", "commitments must be this round's, one a contributor"),
        ("twice", "commitments must be this round's, one a contributor"),
        ("count", "the count must be that of the leaves"),
    ],
)
def test_forged_commitments_are_found(forge: str, rule_text: str) -> None:
    bench, ledger, store = forged_bench()
    found = ledger.round(FIRST)
    honest = store.get_document("commitments", found.commitments_root)
    document = {
        "missing": honest,
        "other round": {**honest, "round": 2},
        "twice": {**honest, "commitments": [honest["commitments"][0]] * 2},
        "count": honest,
    }[forge]
    root = name_of("commitments", document)
    store.put_document("commitments", root, document)
    if forge == "missing":
        del store.documents["commitments", root]
    count = 3 if forge == "count" else 2
    ledger.rounds[1] = replace(found, commitments_root=root, commitments_count=count)
    assert audit(bench, sealed=True) == [f"commitments {root.hex()}: {rule_text}"]


def test_who_is_not_in_the_commitments_is_found() -> None:
    bench, ledger, store = forged_bench()
    found = ledger.round(FIRST)
    kept = {who(bench, 1): b"\1" * 32}
    document = commitments_document(FIRST, kept)
    root = name_of("commitments", document)
    store.put_document("commitments", root, document)
    ledger.rounds[1] = replace(found, commitments_root=root, commitments_count=1)
    rule_text = "an update must open what its contributor committed to"
    assert [line.split(": ", 1)[1] for line in audit(bench, sealed=True)] == [rule_text] * 2
