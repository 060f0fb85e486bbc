# pragma version 0.4.3
"""
@notice A referee for the tests: convicts and holds whatever anyone asks it to.
"""

interface Federation:
    def convict_coordinator(round: uint256, prover: address, offence: bytes32): nonpayable
    def hold_round(round: uint256, until: uint256): nonpayable


@external
def convict(federation: Federation, round: uint256, prover: address, offence: bytes32):
    """
    @notice Convict the coordinator of a federation over a round.
    """
    extcall federation.convict_coordinator(round, prover, offence)


@external
def hold(federation: Federation, round: uint256, until: uint256):
    """
    @notice Hold a round of a federation.
    """
    extcall federation.hold_round(round, until)
