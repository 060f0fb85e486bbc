# pragma version 0.4.3
"""
@notice An attacker: whenever it is paid, it calls back into whoever paid it.
"""

target: address
payload: Bytes[2048]
amount: uint256
attempts: public(uint256)
successes: public(uint256)


@external
@payable
def execute(target: address, data: Bytes[2048]):
    """
    @notice Call anything with the ether sent; reverts with the callee's reason.
    """
    raw_call(target, data, value=msg.value)


@external
def arm(target: address, data: Bytes[2048]):
    """
    @notice What to call on the next payment.
    """
    self.target = target
    self.payload = data
    self.amount = 0


@external
@payable
def arm_with(target: address, data: Bytes[2048]):
    """
    @notice The same, with the ether sent now.
    """
    self.target = target
    self.payload = data
    self.amount = msg.value


@external
@payable
def __default__():
    if self.target != empty(address):
        self.attempts += 1
        if raw_call(self.target, self.payload, value=self.amount, revert_on_failure=False):
            self.successes += 1
