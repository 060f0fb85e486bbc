"""What events say of members and bonds is what the contract says."""

from service_bench import EXPERIMENT, INITIAL, MANIFEST

from contracts.binding import calls
from coordinator.ledger.contract_ledger import ChainLedger, Membership
from coordinator.protocol.commitments.parameter_tree import parameter_root
from coordinator.protocol.types import RoundId, Wei
from simulations.run.chain import SimulatedChain, open_chain
from simulations.run.identities import identities_of

ETHER = 10**18


def play_round(chain: SimulatedChain, number: int) -> None:
    """Open and give up a round: enough for a bond to count from it on."""
    ledger = chain.ledger
    ledger.open_round(RoundId(number), ledger.head().model_root, b"\1" * 32, ledger.now() + 100)
    ledger.void_round(RoundId(number), "for the test")


def test_events_and_contract_agree_through_joins_leaves_and_void_rounds() -> None:
    identities = identities_of(EXPERIMENT)
    with open_chain(EXPERIMENT, identities, None, parameter_root(INITIAL, MANIFEST)) as chain:
        a, b, c, _ = identities.contributors
        following = Membership(chain.federation)  # reads on as the chain grows
        federation = chain.federation
        play_round(chain, 1)
        assert following.stakes_at(1) == federation.stakes_at(RoundId(1))
        federation.leave(a)
        federation.join(b, Wei(3 * ETHER))
        play_round(chain, 2)
        federation.join(a, Wei(2 * ETHER))
        batch = [(c, calls.leave()), (a, calls.join(Wei(ETHER)))]
        federation.send_batch(federation.prepare_all(batch))
        play_round(chain, 3)
        federation.leave(b)  # after the last opening: counts for nobody's round yet
        for ledger in (following, ChainLedger(federation), Membership(federation)):
            for number in (1, 2, 3):
                stakes = ledger.stakes_at(RoundId(number))
                assert stakes == federation.stakes_at(RoundId(number)), number
            assert list(ledger.members(4)) == federation.members(4)
            assert list(ledger.members(2)) == federation.members(2)
        assert [following.stakes_at(n).get(a.address) for n in (1, 2, 3)] == [
            ETHER,
            None,
            3 * ETHER,
        ]
        assert following.stakes_at(4) == federation.stakes_at(RoundId(4))
        assert b.address not in following.stakes_at(4)
