# pragma version 0.4.3
"""
@title Payments
@license Apache-2.0
@notice The two ways ether leaves a federation. Callers settle their books before calling.
"""


@internal
def _pay(to: address, amount: uint256):
    success: bool = raw_call(to, b"", value=amount, revert_on_failure=False)
    assert success, "pay: refused"


@internal
def _burn(amount: uint256):
    # The zero address has no code: the call can neither fail nor come back.
    if amount > 0:
        send(empty(address), amount)
