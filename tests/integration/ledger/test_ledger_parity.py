"""The in-memory ledger says what the contract says, also of what has not happened."""

from collections.abc import Callable

import pytest
from memory_ledger import MemoryLedger
from service_bench import EXPERIMENT, INITIAL, MANIFEST

from coordinator.ports import Ledger
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.errors import TransactionRevertedError
from coordinator.protocol.round.chain_round import RoundStatus
from coordinator.protocol.types import Address, RoundId, SigningDomain, Wei
from simulations.run.chain import open_chain
from simulations.run.identities import identities_of

FIRST = RoundId(1)
ROOT = parameter_root(INITIAL, MANIFEST)


def memory_ledger() -> MemoryLedger:
    identities = identities_of(EXPERIMENT)
    bonds = {Address(a): Wei(10**18) for a in identities.addresses}
    domain = SigningDomain(1337, Address(identities.coordinator.address))
    return MemoryLedger(ROOT, bonds, domain, min_contributors=2)


def on_both(check: Callable[[Ledger], object]) -> tuple[object, object]:
    """Return what a check finds on the fake and on the contract."""
    with open_chain(EXPERIMENT, identities_of(EXPERIMENT), None, ROOT) as chain:
        return check(memory_ledger()), check(chain.ledger)


@pytest.mark.parametrize("number", [0, 1, 7])
def test_a_round_that_never_opened(number: int) -> None:
    ours, theirs = on_both(lambda ledger: ledger.round(RoundId(number)))
    assert ours == theirs
    assert theirs.status is RoundStatus.NONE  # type: ignore[attr-defined]


def open_one(ledger: Ledger) -> None:
    ledger.open_round(FIRST, ROOT, b"\1" * 32, ledger.now() + 600)


def refusal(ledger: Ledger, root: bytes) -> str:
    with pytest.raises(TransactionRevertedError) as caught:
        ledger.commit_updates(FIRST, commitments_root=root, count=2)
    return caught.value.reason


def test_commitments_are_fixed_once_while_a_round_is_open() -> None:
    def check(ledger: Ledger) -> list[object]:
        found: list[object] = [refusal(ledger, b"\2" * 32)]
        open_one(ledger)
        found.append(refusal(ledger, bytes(32)))
        ledger.commit_updates(FIRST, commitments_root=b"\2" * 32, count=2)
        found.append(refusal(ledger, b"\3" * 32))
        opened = ledger.round(FIRST)
        found.append((opened.status, opened.commitments_root, opened.commitments_count))
        ledger.void_round(FIRST, "for the test")
        return [*found, refusal(ledger, b"\2" * 32)]

    ours, theirs = on_both(check)
    assert ours == theirs
    assert theirs == [
        "round: not open",
        "round: empty root",
        "round: already committed",
        (RoundStatus.OPEN, b"\2" * 32, 2),
        "round: not open",
    ]
