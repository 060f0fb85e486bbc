# pragma version 0.4.3
"""
@notice A member that cannot be paid: it has no default function.
"""


@external
@payable
def execute(target: address, data: Bytes[2048]):
    """
    @notice Call anything with the ether sent; reverts with the callee's reason.
    """
    raw_call(target, data, value=msg.value)
