# pragma version 0.4.3
"""
@title Judgement
@license Apache-2.0
@notice The coordinator's liability. What counts as proof is decided by a referee contract, named
        once before the first round; this module carries its verdicts out.
@dev A federation whose referee is the zero address convicts nobody.
"""

from . import rounds
from . import stakes
from . import agreement

uses: agreement
uses: stakes
uses: rounds

# The coordinator named the contract that may convict it.
event RefereeSet:
    referee: indexed(address)


referee: address


@internal
@view
def _only_referee():
    assert msg.sender == self.referee, "role: not referee"


@external
@nonreentrant
def set_referee(referee: address):
    """
    @notice Name the contract that may convict the coordinator. Final, and before any round opens,
            so that contributors can read what they will be judged by.
    @dev Coordinator only, once. Reverts "role: not coordinator", "referee: already set",
         "referee: round opened", "referee: not a contract". Emits RefereeSet.
    """
    agreement._only_coordinator()
    assert self.referee == empty(address), "referee: already set"
    assert stakes.last_opened == 0, "referee: round opened"
    assert referee.is_contract, "referee: not a contract"
    self.referee = referee
    log RefereeSet(referee=referee)


@external
@nonreentrant
def hold_round(round: uint256, until: uint256):
    """
    @notice Keep a sealed round from becoming FINAL while a dispute over it runs its course.
    @param until Chain time from which the round may be finalised, if its window has passed too.
           At most one unbonding period away; longer than any hold before.
    @dev Referee only, while the round can still be convicted. Reverts "role: not referee",
         "round: not live", "round: window closed", "round: hold too long",
         "round: hold not longer". Emits RoundHeld.
    """
    self._only_referee()
    rounds._hold(round, until)


@external
@nonreentrant
def convict_coordinator(round: uint256, prover: address, offence: bytes32):
    """
    @notice Void a round and all stacked on it, and slash coordinator_slash_bps of the coordinator's
            bond and unbonding funds together; half is credited to the prover, the rest is burned.
    @dev Referee only. An open round until its deadline, a sealed one until it is settled and its
         window and hold have passed; so once a round. Reverts "role: not referee",
         "round: not live", "round: deadline passed", "round: window closed". Emits RoundVoided with
         the offence as reason, and Slashed.
    """
    self._only_referee()
    if rounds._is_open(round):
        rounds._require_open(round)
    else:
        rounds._require_challengeable(round, rounds._status(round))
    rounds._void(round, offence)
    stakes._slash(
        agreement.TERMS.coordinator, agreement.TERMS.coordinator_slash_bps, round, prover, offence
    )
