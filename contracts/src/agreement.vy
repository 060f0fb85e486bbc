# pragma version 0.4.3
"""
@title Agreement
@license Apache-2.0
@notice What a federation agreed before its first round. Fixed at deployment, readable by anyone.
@dev Immutable: no owner, no upgrade. Times are seconds of chain time, money is wei.
"""


struct Terms:
    coordinator: address
    initial_model_root: bytes32
    config_digest: bytes32
    min_stake: uint256
    min_coordinator_bond: uint256
    round_budget: uint256
    min_contributors: uint256
    min_open_seconds: uint256
    challenge_window: uint256
    unbonding_period: uint256
    contributor_slash_bps: uint256
    coordinator_slash_bps: uint256


# The contract was deployed with these terms.
event FederationCreated:
    terms: Terms


BASIS_POINTS: constant(uint256) = 10_000
# Amounts below 2**96 and periods below 2**32 let rounds pack several values into one word.
MAX_AMOUNT: constant(uint256) = 2**96 - 1
MAX_PERIOD: constant(uint256) = 2**32 - 1

TERMS: immutable(Terms)


@deploy
def __init__(agreed: Terms):
    """
    @notice Check and fix the terms; emits FederationCreated.
    @dev The unbonding period must exceed the challenge window plus the shortest round, or no
         deadline would satisfy open_round.
    """
    assert agreed.coordinator != empty(address), "terms: no coordinator"
    assert agreed.initial_model_root != empty(bytes32), "terms: no initial model"
    assert agreed.min_stake > 0 and agreed.min_coordinator_bond > 0, "terms: zero stake"
    assert agreed.min_stake <= MAX_AMOUNT, "terms: amount too large"
    assert agreed.min_coordinator_bond <= MAX_AMOUNT, "terms: amount too large"
    assert agreed.round_budget <= MAX_AMOUNT, "terms: amount too large"
    assert agreed.min_contributors > 0, "terms: no contributors"
    assert agreed.unbonding_period <= MAX_PERIOD, "terms: period too long"
    assert agreed.challenge_window < agreed.unbonding_period, "terms: unbonding too short"
    assert (
        agreed.min_open_seconds < agreed.unbonding_period - agreed.challenge_window
    ), "terms: unbonding too short"
    assert agreed.contributor_slash_bps <= BASIS_POINTS, "terms: slash over 100%"
    assert agreed.coordinator_slash_bps <= BASIS_POINTS, "terms: slash over 100%"
    TERMS = agreed
    log FederationCreated(terms=agreed)


@external
@view
def terms() -> Terms:
    """
    @notice The terms this federation was deployed with. Anyone may call; never reverts.
    """
    return TERMS


@internal
@view
def _only_coordinator():
    assert msg.sender == TERMS.coordinator, "role: not coordinator"
